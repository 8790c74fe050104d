use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
};

use crate::Contender;

/// All programs that serve the same: the [contenders](Contender), actix-web, and Go where it is.
#[derive(Debug)]
pub struct Rivals {
    all: Vec<Rival>,
    /// Built here, and removed at the end.
    go: Option<PathBuf>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Rival {
    name: &'static str,
    program: OsString,
    /// Whether it is the program of all contenders.
    is_contender: bool,
}

impl Rivals {
    /// All that there are: `contender` and `actix` are the programs of this package. Why Go is not among them goes to
    /// `say`.
    pub fn new(contender: &str, actix: &str, say: impl FnOnce(io::Error)) -> Self {
        let mut all: Vec<_> = Contender::ALL
            .iter()
            .map(|one| Rival { name: one.name(), program: contender.into(), is_contender: true })
            .collect();
        all.push(Rival { name: "actix-web", program: actix.into(), is_contender: false });
        let go = build_go().map_err(say).ok();
        all.extend(go.as_ref().map(|program| Rival { name: "Go", program: program.into(), is_contender: false }));
        Self { all, go }
    }

    /// The floor first.
    #[must_use]
    pub fn all(&self) -> &[Rival] {
        &self.all
    }
}

impl Rival {
    /// As it stands in the tables.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What starts it, to which [`Options`](crate::Options) may be added.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if self.is_contender {
            command.arg(self.name);
        }
        command
    }
}

impl Drop for Rivals {
    fn drop(&mut self) {
        if let Some(program) = &self.go {
            let _ = fs::remove_file(program);
        }
    }
}

fn build_go() -> io::Result<PathBuf> {
    let program = env::temp_dir().join(format!("graceful-peer-{}", process::id()));
    let go = env::var_os("GO").unwrap_or_else(|| "go".into());
    let built = Command::new(&go)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
        .env("GOTOOLCHAIN", "local")
        .args(["build", "-o"])
        .args([program.as_os_str(), ".".as_ref()])
        .status()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", go.display())))?;
    if built.success() { Ok(program) } else { Err(io::Error::other(format!("`go build` ended with {built}"))) }
}
