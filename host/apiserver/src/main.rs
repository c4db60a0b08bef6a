//! `owlk8s-apiserver`: a test API server with a generated cluster, for use by hand and for measurements.

#![expect(clippy::print_stdout, reason = "a command says where it listens")]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use owlk8s_apiserver::{Kind, Settings};

/// A Kubernetes API server with a generated cluster, until it is stopped.
#[derive(Parser)]
struct Args {
    /// Nodes, named node-0, node-1, ...
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Pods on each node, in Deployments of ten.
    #[arg(long, default_value_t = 10)]
    pods_per_node: usize,
    /// Services, named svc-0, svc-1, ...
    #[arg(long, default_value_t = 3)]
    services: usize,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// 0: one that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Https instead of http.
    #[arg(long)]
    tls: bool,
    /// The token that clients must send.
    #[arg(long)]
    token: Option<String>,
    /// Where the kubeconfig is written.
    #[arg(long, default_value = "owlk8s-apiserver.kubeconfig")]
    kubeconfig: PathBuf,
    /// So many pods come and go each second on other nodes.
    #[arg(long, default_value_t = 0)]
    churn: usize,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings {
        tls: args.tls,
        address: SocketAddr::new(args.address, args.port),
    };
    let server = settings.start()?;
    if let Some(token) = &args.token {
        server.accept_token(token);
    }
    let cluster = server.cluster();
    cluster.fill(args.nodes, args.pods_per_node, args.services);
    server.kubeconfig(&args.kubeconfig)?;
    let (pods, bytes) = cluster.size(Kind::Pod);
    println!("{} with {pods} pods of {bytes} bytes", server.url());
    println!("kubeconfig: {}", args.kubeconfig.display());
    loop {
        cluster.churn_elsewhere(args.churn);
        std::thread::sleep(Duration::from_secs(1));
    }
}
