//! An authority that issues certificates into files of a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use graceful_connection::tls::{TlsSettings, rustls::pki_types::CertificateDer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// The files of one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings::new(&self.chain, &self.key)
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Relaxed);
        let folder = std::env::temp_dir().join(format!("graceful-tls-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("Authority {count}"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        fs::write(folder.join("ca.pem"), issuer.pem()).expect("the file can be written");
        Self { issuer, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the file can be written");
        path
    }

    /// Its own certificate, as a client trusts it.
    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// The same, as a file.
    pub(crate) fn root_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for `names` in `<file>.pem` and `<file>.key`. The common name is `file`.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> Files {
        self.issue_with(file, names, &KeyPair::generate().expect("a key"), |_| ())
    }

    pub(crate) fn issue_with(
        &self,
        file: &str,
        names: &[&str],
        key: &KeyPair,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, file);
        adjust(&mut params);
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        Files {
            chain: self.write(&format!("{file}.pem"), certificate.pem()),
            key: self.write(&format!("{file}.key"), key.serialize_pem()),
        }
    }

    /// One that expires in a moment, and when: see [`pass`].
    pub(crate) fn issue_short(&self, file: &str, names: &[&str]) -> (Files, SystemTime) {
        let expires = SystemTime::now() + Duration::from_secs(3);
        let files = self.issue_with(file, names, &KeyPair::generate().expect("a key"), |params| {
            params.not_after = expires.into();
        });
        (files, expires)
    }

    /// Replaces the content of `files`, as a renewal does.
    pub(crate) fn renew(&self, files: &Files, common_name: &str) {
        let fresh = self.issue(common_name, &["localhost"]);
        replace(&fresh.key, &files.key);
        replace(&fresh.chain, &files.chain);
    }
}

/// Lets the clock of the machine pass a time: what expires knows no other.
pub(crate) fn pass(time: SystemTime) {
    while let Ok(left) = time.duration_since(SystemTime::now()) {
        std::thread::sleep(left.max(Duration::from_millis(1)));
    }
}

pub(crate) fn replace(from: &Path, to: &Path) {
    fs::rename(from, to).expect("the file can be replaced");
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
