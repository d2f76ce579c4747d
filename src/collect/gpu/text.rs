//! Text that a driver or the kernel wrote, taken apart. No panic on any input.

/// The profile of a GPU instance out of its device's name, `NVIDIA A100-SXM4-40GB MIG 1g.5gb`; of a compute
/// instance, `MIG 1c.3g.20gb`, that of the GPU instance it is in. Empty if there is none.
pub(super) fn mig_profile(name: &str) -> &str {
    let Some((_, profile)) = name.rsplit_once("MIG ") else { return "" };
    let profile = profile.trim();
    match profile.split_once('.') {
        Some((compute, rest)) if compute.ends_with('c') => rest,
        _ => profile,
    }
}

/// The product line, `nvmlBrandType_t` of nvml.h.
pub(super) const fn brand(number: u32) -> &'static str {
    match number {
        1 => "Quadro",
        2 => "Tesla",
        3 => "NVS",
        4 => "GRID",
        5 => "GeForce",
        6 => "Titan",
        7 => "NVIDIA vApps",
        8 => "NVIDIA VPC",
        9 => "NVIDIA VCS",
        10 => "NVIDIA VWS",
        11 => "NVIDIA Cloud Gaming",
        12 => "Quadro RTX",
        13 => "NVIDIA RTX",
        14 => "NVIDIA",
        15 => "GeForce RTX",
        16 => "Titan RTX",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn profiles() {
        for (name, want) in [
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "1g.5gb"),
            ("NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", "3g.40gb"),
            ("NVIDIA H100 80GB HBM3 MIG 1g.10gb+me", "1g.10gb+me"),
            ("NVIDIA H100 80GB HBM3", ""),
            ("MIG ", ""),
            ("", ""),
        ] {
            assert_eq!(mig_profile(name), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC{0,80}") {
            super::super::survives(text.as_bytes());
        }
    }
}
