//! An Engine's answers in, targets out.

use super::*;
use crate::http_client::HttpClientSettings;
use crate::http_client::testing::{Answer, Peer};

const CONTAINERS: &str = r#"[
  {"Id": "c1", "Names": ["/web"], "Labels": {"prometheus.io/scrape": "true", "prometheus.io/path": "/m", "a.b": "c"},
   "Ports": [{"IP": "0.0.0.0", "PrivatePort": 8080, "PublicPort": 80, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"},
             {"PrivatePort": 9000, "Type": "tcp"}],
   "HostConfig": {"NetworkMode": "bridge"},
   "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n1", "IPAddress": "172.17.0.2"},
                                    "zoo": {"NetworkID": "n2", "IPAddress": "10.1.0.2"}}}},
  {"Id": "c2", "Names": ["/host"], "Labels": {"outrigger.port": "7", "outrigger.scheme": "https"}, "Ports": [],
   "HostConfig": {"NetworkMode": "host"}, "NetworkSettings": {"Networks": {"host": {"NetworkID": "n3", "IPAddress": ""}}}},
  {"Id": "c3", "Names": ["/side"], "Labels": null, "Ports": null, "HostConfig": {"NetworkMode": "container:c1"},
   "NetworkSettings": {"Networks": {}}},
  {"Id": "c4", "Names": ["/loop"], "HostConfig": {"NetworkMode": "container:c4"}}
]"#;

const NETWORKS: &str = r#"[{"Id": "n1", "Name": "bridge", "Scope": "local", "Internal": false, "Ingress": false, "Labels": {"x-y": "z"}}]"#;

fn settings(host: String, by_label: bool) -> DockerSettings {
    DockerSettings {
        host,
        refresh_interval: Duration::from_secs(60),
        port: 80,
        filters: BTreeMap::from([("label".to_owned(), vec!["a=b".to_owned()])]),
        host_networking_host: "localhost".to_owned(),
        match_first_network: true,
        by_label,
        client: HttpClientSettings::default(),
    }
}

async fn looked(by_label: bool) -> (Vec<Labels>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let peer = Peer::on_socket(&path, |request| {
        let body = if request.starts_with("GET /networks ") { NETWORKS } else { CONTAINERS };
        Answer::Text(200, "application/json", body.into())
    });
    let mut provider = DockerProvider::new(&settings(format!("unix://{}", path.display()), by_label));
    let groups = provider.look().await.unwrap();
    (groups[0].targets.clone(), peer.requests())
}

#[tokio::test]
async fn every_port_of_a_container_is_a_target() {
    let (targets, requests) = looked(false).await;
    let addresses: Vec<&str> = targets.iter().map(|t| t.value("__address__")).collect();
    assert_eq!(addresses, ["172.17.0.2:80", "172.17.0.2:8080", "172.17.0.2:9000", "localhost"]);
    assert_eq!(
        targets[1].to_string(),
        r#"{__address__="172.17.0.2:8080", __meta_docker_container_id="c1", __meta_docker_container_label_a_b="c", __meta_docker_container_label_prometheus_io_path="/m", __meta_docker_container_label_prometheus_io_scrape="true", __meta_docker_container_name="/web", __meta_docker_container_network_mode="bridge", __meta_docker_network_id="n1", __meta_docker_network_ingress="false", __meta_docker_network_internal="false", __meta_docker_network_ip="172.17.0.2", __meta_docker_network_label_x_y="z", __meta_docker_network_name="bridge", __meta_docker_network_scope="local", __meta_docker_port_private="8080", __meta_docker_port_public="80", __meta_docker_port_public_ip="0.0.0.0"}"#
    );
    assert!(
        requests[0]
            .starts_with("GET /containers/json?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D HTTP/1.1")
    );
}

#[tokio::test]
async fn containers_ask_with_labels() {
    let (targets, _) = looked(true).await;
    let shown: Vec<String> =
        targets.iter().map(|t| t.filtered(|name| !name.starts_with("__meta_")).to_string()).collect();
    assert_eq!(
        shown,
        [
            r#"{__address__="172.17.0.2:8080", __metrics_path__="/m", container="web"}"#,
            r#"{__address__="localhost:7", __scheme__="https", container="host"}"#,
        ]
    );
}

#[tokio::test]
async fn an_engine_that_fails_is_said() {
    let mut absent = DockerProvider::new(&settings("unix:///nonexistent/docker.sock".into(), false));
    assert_eq!(
        absent.look().await.unwrap_err(),
        "error while listing containers: Get \"http://docker/containers/json?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D\": dial unix /nonexistent/docker.sock: connect: no such file or directory"
    );
    let peer = Peer::fixed(Answer::Text(500, "application/json", "{}".into())).await;
    let mut failing = DockerProvider::new(&settings(format!("tcp://{}", peer.address), false));
    assert!(failing.look().await.unwrap_err().ends_with("the Docker Engine answers 500 x"));
}
