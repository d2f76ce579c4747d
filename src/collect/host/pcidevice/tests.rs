//! Devices behind a bridge, with and without links, virtual functions and names.

use super::super::testing::Fixture;
use super::Location;

fn device(fixture: Fixture, place: &str, files: &[(&str, &str)]) -> Fixture {
    let name = place.rsplit('/').next().unwrap();
    let fixture = files.iter().fold(fixture, |f, (file, text)| f.file(&format!("sys/devices/{place}/{file}"), text));
    fixture.link(&format!("sys/bus/pci/devices/{name}"), format!("../../../devices/{place}"))
}

const CODES: [(&str, &str); 6] = [
    ("class", "0x010802\n"),
    ("vendor", "0x1344\n"),
    ("device", "0x51c0\n"),
    ("subsystem_vendor", "0x1344\n"),
    ("subsystem_device", "0x2b00\n"),
    ("revision", "0x01\n"),
];

fn machine() -> Fixture {
    let bridge = [
        ("class", "0x060400\n"),
        ("vendor", "0x1022\n"),
        ("device", "0x1634\n"),
        ("subsystem_vendor", "0x17aa\n"),
        ("subsystem_device", "0x5095\n"),
        ("revision", "0x00\n"),
        ("numa_node", "-1\n"),
        ("max_link_speed", "Unknown\n"),
    ];
    let disk = [
        ("max_link_speed", "8.0 GT/s PCIe\n"),
        ("max_link_width", "4\n"),
        ("current_link_speed", "2.5 GT/s PCIe\n"),
        ("current_link_width", "2\n"),
        ("numa_node", "1\n"),
        ("power_state", "D3hot\n"),
        ("d3cold_allowed", "1\n"),
        ("sriov_drivers_autoprobe", "1\n"),
        ("sriov_numvfs", "4\n"),
        ("sriov_totalvfs", "8\n"),
        ("sriov_vf_total_msix", "16\n"),
    ];
    let fixture = device(Fixture::new(), "pci0000:00/0000:00:02.1", &bridge);
    let all: Vec<_> = CODES.iter().chain(&disk).copied().collect();
    device(fixture, "pci0000:00/0000:00:02.1/0000:01:00.0", &all)
}

const AT_BRIDGE: &str = r#"bus="00",device="02",function="1",segment="0000""#;
const AT_DISK: &str = r#"bus="01",device="00",function="0",segment="0000""#;

#[test]
fn golden() {
    let values = [
        ("current_link_transfers_per_second", "-1", "2500000000"),
        ("current_link_width", "-1", "2"),
        ("d3cold_allowed", "0", "1"),
        ("max_link_transfers_per_second", "-1", "8000000000"),
        ("max_link_width", "-1", "4"),
        ("sriov_drivers_autoprobe", "0", "1"),
        ("sriov_numvfs", "0", "4"),
        ("sriov_totalvfs", "0", "8"),
        ("sriov_vf_total_msix", "0", "16"),
    ];
    let mut want = String::new();
    for (family, bridge, disk) in values {
        want += &format!("node_pcidevice_{family}{{{AT_BRIDGE}}} {bridge}\n");
        want += &format!("node_pcidevice_{family}{{{AT_DISK}}} {disk}\n");
    }
    for state in ["D0", "D1", "D2", "D3hot", "D3cold", "unknown", "error"] {
        let value = u8::from(state == "D3hot");
        want += &format!("node_pcidevice_power_state{{{AT_DISK},state={state:?}}} {value}\n");
    }
    want += &format!("node_pcidevice_numa_node{{{AT_DISK}}} 1\n");
    want += r#"node_pcidevice_info{bus="00",class_id="0x060400",device="02",device_id="0x1634",function="1",parent_bus="*",parent_device="*",parent_function="*",parent_segment="*",revision="0x00",segment="0000",subsystem_device_id="0x5095",subsystem_vendor_id="0x17aa",vendor_id="0x1022"} 1
        node_pcidevice_info{bus="01",class_id="0x010802",device="00",device_id="0x51c0",function="0",parent_bus="00",parent_device="02",parent_function="1",parent_segment="0000",revision="0x01",segment="0000",subsystem_device_id="0x2b00",subsystem_vendor_id="0x1344",vendor_id="0x1344"} 1"#;
    machine().expect("pcidevice", &want);
}

const IDS: &str = "# a comment\n\
    1022  Advanced Micro Devices, Inc. [AMD]\n\
    \t1633  Another bridge\n\
    1344  Micron Technology Inc\n\
    \t51c0  7400 PRO NVMe SSD\n\
    \t\t1344 2b00  1920GB U.3\n\
    \t\t1344 2b01  Other\n\
    17aa  Lenovo\n\
    \n\
    C 01  Mass storage controller\n\
    \t08  Non-Volatile memory controller\n\
    \t\t02  NVM Express\n\
    \t\t03  Other\n\
    C 06  Bridge\n\
    \t01  ISA bridge\n";

#[test]
fn names_from_the_database() {
    let fixture = machine().file("pci.ids", IDS);
    let ids = fixture.path().join("pci.ids");
    let fixture =
        fixture.option("pcidevice.names", "true").option("pcidevice.idsfile", ids.to_str().unwrap());
    let text = fixture.samples("pcidevice");
    for label in [
        r#"class_name="NVM Express""#,
        r#"device_name="7400 PRO NVMe SSD""#,
        r#"subsystem_device_name="1920GB U.3""#,
        r#"subsystem_vendor_name="Micron Technology Inc""#,
        r#"class_name="Bridge""#,
        r#"vendor_name="Advanced Micro Devices, Inc. [AMD]""#,
        r#"device_name="0x1634""#,
        r#"subsystem_vendor_name="Lenovo""#,
        r#"subsystem_device_name="0x5095""#,
    ] {
        assert!(text.contains(label), "{label} is not in\n{text}");
    }
    let missing = machine().option("pcidevice.names", "true").option("pcidevice.idsfile", "/nonexistent");
    assert!(missing.samples("pcidevice").contains(r#"class_name="Unknown class (0x010802)""#));
}

#[test]
fn odd_trees_are_errors_that_keep_the_other_devices() {
    assert!(Fixture::new().error("pcidevice").contains("no data"));
    for (name, files, want) in [
        ("0000:02:00.0", &CODES[..5], "revision does not exist"),
        ("nonsense", &CODES[..], "expected SEGMENT:BUS:DEVICE.FUNCTION"),
    ] {
        let fixture = device(machine(), &format!("pci0000:00/{name}"), files);
        assert!(fixture.error("pcidevice").contains(want), "{name}");
        assert!(fixture.samples("pcidevice").contains("node_pcidevice_sriov_numvfs{bus=\"01\""), "{name}");
    }
}

#[test]
fn locations() {
    let place = |s: &str| Location::parse(s).map(|l| l.labels().map(|(_, v)| v.to_owned()).join(" "));
    assert_eq!(place("0000:3b:00.1").as_deref(), Some("0000 3b 00 1"));
    assert_eq!(place("10000:e1:00.0").as_deref(), Some("10000 e1 00 0"));
    for bad in ["pci0000:00", "", "0000:00:02", "0000:zz:00.0", "::."] {
        assert_eq!(place(bad), None, "{bad}");
    }
}
