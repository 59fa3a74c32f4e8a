//! The process runtime: the contract, and what only processes do.

mod only;

use crate::support::{self, Check, and_then_clean, probe, scope};
use async_trait::async_trait;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use warren_core::id::NodeId;
use warren_core::spec::{Image, Template};
use warren_core::units::Bytes;
use warren_drivers::runtime::contract::{Broken, Fixture};
use warren_drivers::runtime::process::ProcessOptions;
use warren_drivers::runtime::{ContainerRuntime, NetworkSpec, Options, RuntimeError, Scope, open};

warren_drivers::runtime_contract!(check);

async fn check(_name: &str, check: Check) {
    let fixture = Processes::new();
    let clean = fixture.clean();
    and_then_clean(async { check(&fixture).await.unwrap() }, clean).await;
}

enum Folder {
    Own(TempDir),
    Lent(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Lent(folder) => folder,
        }
    }
}

struct Processes {
    folder: Folder,
    scope: Scope,
    network: NetworkSpec,
}

fn options(folder: &Path, scope: Scope) -> ProcessOptions {
    ProcessOptions {
        scope,
        folder: folder.to_owned(),
        supervisor: vec![env!("CARGO_BIN_EXE_warren-test-supervisor").into()],
        log_bytes_max: Bytes::from_mib(1),
    }
}

impl Processes {
    fn new() -> Self {
        let random = support::random().to_le_bytes();
        let base = Ipv4Addr::new(127, 64 | (random[0] & 63), random[1], 0);
        let subnet = Ipv4Net::new(base, 24).unwrap();
        let gateway = Ipv4Addr::from(u32::from(base) + 1);
        let network = NetworkSpec { name: "test".into(), subnet, gateway, mtu: None };
        let folder = tempfile::tempdir().unwrap();
        // Tasks of other users must be able to reach their program.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { folder: Folder::Own(folder), scope: scope(), network }
    }

    /// The fixture of another process, whose folder it keeps.
    fn adopt(folder: &Path, cluster: String, node: u64, subnet: &str) -> Self {
        let subnet: Ipv4Net = subnet.parse().unwrap();
        let gateway = Ipv4Addr::from(u32::from(subnet.network()) + 1);
        let network = NetworkSpec { name: "test".into(), subnet, gateway, mtu: None };
        let scope = Scope { cluster, node: NodeId(node) };
        Self { folder: Folder::Lent(folder.to_owned()), scope, network }
    }

    async fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        open(Options::Process(options(self.folder.path(), self.scope.clone()))).await.unwrap()
    }

    /// Ends what is left of a test.
    async fn clean(&self) {
        let runtime = self.runtime().await;
        for container in runtime.list().await.unwrap() {
            runtime.remove(&container.id).await.unwrap();
        }
    }
}

#[async_trait]
impl Fixture for Processes {
    async fn open(&self, scope: Scope) -> Result<Arc<dyn ContainerRuntime>, RuntimeError> {
        open(Options::Process(options(self.folder.path(), scope))).await
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn image(&self) -> Image {
        probe().to_str().unwrap().parse().unwrap()
    }

    fn program(&self) -> String {
        probe().to_str().unwrap().to_owned()
    }

    fn network(&self) -> NetworkSpec {
        self.network.clone()
    }

    fn absent_image(&self) -> Image {
        "/no/such/program".parse().unwrap()
    }

    /// An executable file that no kernel can run.
    async fn unrunnable(&self, template: Template) -> Result<Template, Broken> {
        let path = self.folder.path().join("no-program");
        std::fs::write(&path, "no program")?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        Ok(Template { image: path.to_str().unwrap().parse()?, ..template })
    }

    async fn squat(&self, name: &str) -> Result<(), Broken> {
        let folder = self.folder.path().join("tasks").join(name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("mine"), "not yours")?;
        Ok(())
    }
}
