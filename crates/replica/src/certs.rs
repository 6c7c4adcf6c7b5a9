//! Certificates: one authority for each cluster, one certificate for each member and each client.
//!
//! - Expected flow: `Authority::create` once, `Authority::load` and `member` or `client` for each
//!   certificate; the authority's key then stays away from the members.
//! - Guarantees: a member is named `<node-id>.<cluster-id>.member.regraft`, a client
//!   `<name>.<role>.client.regraft`, or `<name>.client.regraft` for an operator; keys are readable by their owner only;
//!   nothing is overwritten unless asked.
//! - Assumptions: whoever holds the authority's key may be anybody.
//! - Errors: [`Error`] names the file or the subject.

use crate::error::Error;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an authority is valid: longer than anybody plans.
const AUTHORITY_VALID_DAYS: u64 = 3650;
/// How long a member's or client's certificate is valid: they are replaced without a restart.
const CERTIFICATE_VALID_DAYS: u64 = 825;
/// How far a clock may be behind the one that made the certificate.
const CLOCK_SKEW_S: u64 = 3600;
const DAY_S: u64 = 86_400;
/// Longest cluster id and client name; leaves room in a DNS label of 63.
const NAME_BYTES_MAX: usize = 40;
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;
const MEMBER_SUFFIX: &str = ".member.regraft";
const CLIENT_SUFFIX: &str = ".client.regraft";

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A member of a cluster.
    Member {
        /// Its member id.
        node_id: u64,
        /// Its cluster.
        cluster_id: String,
    },
    /// A person or program that talks to members.
    Client {
        /// Its name.
        name: String,
        /// What it may do.
        role: ClientRole,
    },
}

/// What a client may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientRole {
    /// Look.
    Viewer,
    /// Act on what regraft looks after: syncs, pauses, approvals, vetoes; sessions, records and locks. What a
    /// certificate without a role in its name stands for.
    #[default]
    Operator,
    /// Change the trio itself: its members, and copies of its state.
    Admin,
}

/// Whether files that exist may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// No: an error names the file.
    Refuse,
    /// Yes.
    Force,
}

/// Where a certificate and its key were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM, mode 0600.
    pub key: PathBuf,
}

/// Signs the certificates of one cluster.
pub struct Authority {
    cluster_id: String,
    issuer: Issuer<'static, KeyPair>,
    /// Where it and what it signs are kept.
    dir: PathBuf,
}

impl Identity {
    /// The name in the certificate.
    #[must_use]
    pub fn dns_name(&self) -> String {
        match self {
            Self::Member {
                node_id,
                cluster_id,
            } => format!("{node_id}.{cluster_id}{MEMBER_SUFFIX}"),
            Self::Client {
                name,
                role: ClientRole::Operator,
            } => format!("{name}{CLIENT_SUFFIX}"),
            Self::Client { name, role } => format!("{name}.{role}{CLIENT_SUFFIX}"),
        }
    }

    /// Whom a certificate names. The chain must have been verified before.
    ///
    /// # Errors
    /// A reason, when it names nobody or more than one.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate.as_ref())
            .map_err(|error| format!("it is not an X.509 certificate: {error}"))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| format!("its alternative names cannot be read: {error}"))?;
        let mut found: Vec<Self> = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                x509_parser::extensions::GeneralName::DNSName(name) => Self::parse(name),
                _ => None,
            })
            .collect();
        found.dedup();
        match (found.pop(), found.pop()) {
            (Some(identity), None) => Ok(identity),
            (None, _) => Err("it names neither a member nor a client of regraft".to_owned()),
            (Some(one), Some(other)) => Err(format!("it names both {one} and {other}")),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_suffix(MEMBER_SUFFIX) {
            let (node_id, cluster_id) = rest.split_once('.')?;
            let node_id = node_id.parse().ok().filter(|id| *id > 0)?;
            let member = is_label(cluster_id).then(|| Self::Member {
                node_id,
                cluster_id: cluster_id.to_owned(),
            });
            // A number with a sign, or with zeros in front, is another name.
            return member.filter(|member| member.dns_name() == name);
        }
        let client = name.strip_suffix(CLIENT_SUFFIX)?;
        let (name, role) = match client.split_once('.') {
            None => (client, ClientRole::default()),
            Some((name, role)) => (name, role.parse().ok()?),
        };
        is_label(name).then(|| Self::Client {
            name: name.to_owned(),
            role,
        })
    }
}

impl ClientRole {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for ClientRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for ClientRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.word() == text);
        found.ok_or_else(|| format!("{text:?} is none of viewer, operator and admin"))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member {
                node_id,
                cluster_id,
            } => write!(f, "member {node_id} of cluster {cluster_id}"),
            Self::Client { name, role } => write!(f, "client {name} ({role})"),
        }
    }
}

impl Authority {
    /// Makes a new authority in `dir`: `ca.pem` and `ca-key.pem`.
    ///
    /// # Errors
    /// When the cluster id cannot be used or a file exists or cannot be written.
    pub fn create(
        dir: &Path,
        cluster_id: &str,
        now_ms: i64,
        overwrite: Overwrite,
    ) -> Result<Self, Error> {
        check_cluster_id(cluster_id)?;
        let subject = format!("the authority of cluster {cluster_id}");
        let failed = |source| Error::MakeCertificate {
            subject: subject.clone(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // The loader reads the cluster id from here.
        params
            .distinguished_name
            .push(DnType::OrganizationName, cluster_id);
        params
            .distinguished_name
            .push(DnType::CommonName, "regraft authority");
        set_validity(&mut params, now_ms, AUTHORITY_VALID_DAYS);
        let certificate = params.self_signed(&key).map_err(failed)?;
        let files = authority_files(dir);
        write_pair(&files, &certificate.pem(), &key.serialize_pem(), overwrite)?;
        Self::load(dir)
    }

    /// Loads the authority in `dir`.
    ///
    /// # Errors
    /// When a file is missing or is not an authority made by [`Authority::create`].
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let files = authority_files(dir);
        let cert_pem = read_text(&files.cert)?;
        let key_pem = read_text(&files.key)?;
        let unusable = |path: &Path, reason: String| Error::ReadCertificate {
            path: path.to_owned(),
            reason,
        };
        let key = KeyPair::from_pem(&key_pem)
            .map_err(|error| unusable(&files.key, format!("it is not a private key: {error}")))?;
        let cluster_id =
            authority_cluster(&cert_pem).map_err(|reason| unusable(&files.cert, reason))?;
        let issuer = Issuer::from_ca_cert_pem(&cert_pem, key)
            .map_err(|error| unusable(&files.cert, format!("it is not an authority: {error}")))?;
        Ok(Self {
            cluster_id,
            issuer,
            dir: dir.to_owned(),
        })
    }

    /// The cluster it signs for.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The authority's certificate: what every member and client trusts.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        authority_files(&self.dir).cert
    }

    /// Makes `member-<node-id>.pem` and its key. `hosts` are further names or addresses under
    /// which clients reach the member; loopback is always among them.
    ///
    /// # Errors
    /// When a name cannot be used or a file exists or cannot be written.
    pub fn member(
        &self,
        node_id: u64,
        hosts: &[String],
        now_ms: i64,
        overwrite: Overwrite,
    ) -> Result<Files, Error> {
        check_node_id(node_id)?;
        let identity = Identity::Member {
            node_id,
            cluster_id: self.cluster_id.clone(),
        };
        let mut names = vec![
            identity.dns_name(),
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        names.extend(hosts.iter().cloned());
        let usages = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let stem = format!("member-{node_id}");
        self.sign(&identity, names, &usages, &stem, now_ms, overwrite)
    }

    /// Makes `client-<name>.pem` and its key.
    ///
    /// # Errors
    /// When the name cannot be used or a file exists or cannot be written.
    pub fn client(
        &self,
        name: &str,
        role: ClientRole,
        now_ms: i64,
        overwrite: Overwrite,
    ) -> Result<Files, Error> {
        if !is_label(name) {
            return Err(Error::InvalidClientName {
                name: name.to_owned(),
            });
        }
        let identity = Identity::Client {
            name: name.to_owned(),
            role,
        };
        let names = vec![identity.dns_name()];
        let usages = [ExtendedKeyUsagePurpose::ClientAuth];
        let stem = format!("client-{name}");
        self.sign(&identity, names, &usages, &stem, now_ms, overwrite)
    }

    fn sign(
        &self,
        identity: &Identity,
        names: Vec<String>,
        usages: &[ExtendedKeyUsagePurpose],
        stem: &str,
        now_ms: i64,
        overwrite: Overwrite,
    ) -> Result<Files, Error> {
        let failed = |source| Error::MakeCertificate {
            subject: identity.to_string(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, identity.dns_name());
        set_validity(&mut params, now_ms, CERTIFICATE_VALID_DAYS);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let files = Files {
            cert: self.dir.join(format!("{stem}.pem")),
            key: self.dir.join(format!("{stem}-key.pem")),
        };
        write_pair(&files, &certificate.pem(), &key.serialize_pem(), overwrite)?;
        Ok(files)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("cluster_id", &self.cluster_id)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Refuses a cluster id that cannot be part of a certificate's name.
///
/// # Errors
/// [`Error::InvalidClusterId`] says what it may be.
pub fn check_cluster_id(id: &str) -> Result<(), Error> {
    if is_label(id) {
        return Ok(());
    }
    Err(Error::InvalidClusterId { id: id.to_owned() })
}

/// Refuses the id that means "no member".
pub(crate) fn check_node_id(id: u64) -> Result<(), Error> {
    if id > 0 {
        return Ok(());
    }
    Err(Error::InvalidNodeId { id })
}

fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn authority_files(dir: &Path) -> Files {
    Files {
        cert: dir.join("ca.pem"),
        key: dir.join("ca-key.pem"),
    }
}

fn authority_cluster(cert_pem: &str) -> Result<String, String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(cert_pem.as_bytes())
        .map_err(|error| format!("it is not a certificate: {error}"))?;
    let certificate = pem
        .parse_x509()
        .map_err(|error| format!("it is not a certificate: {error}"))?;
    certificate
        .subject()
        .iter_organization()
        .filter_map(|attribute| attribute.as_str().ok())
        .find(|id| is_label(id))
        .map(str::to_owned)
        .ok_or_else(|| "it is not an authority made by regraft".to_owned())
}

fn set_validity(params: &mut CertificateParams, now_ms: i64, days: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = epoch + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    params.not_before = now - Duration::from_secs(CLOCK_SKEW_S);
    params.not_after = now + Duration::from_secs(days * DAY_S);
}

fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
        path: path.to_owned(),
        source,
    })
}

/// The key first: a certificate without its key would look usable.
fn write_pair(
    files: &Files,
    cert_pem: &str,
    key_pem: &str,
    overwrite: Overwrite,
) -> Result<(), Error> {
    if overwrite == Overwrite::Refuse {
        for path in [&files.cert, &files.key] {
            if path.exists() {
                return Err(Error::FileExists { path: path.clone() });
            }
        }
    }
    write_file(&files.key, key_pem, KEY_MODE)?;
    write_file(&files.cert, cert_pem, CERTIFICATE_MODE)
}

/// Writes beside and renames, so that a reader sees the old or the new file, and the mode holds
/// from the first byte.
fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let failed = |source| Error::WriteFile {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let beside = path.with_extension("pem.new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::pem::PemObject as _;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn identity_of(path: &Path) -> Result<Identity, String> {
        Identity::of_certificate(&CertificateDer::from_pem_file(path).unwrap())
    }

    #[test]
    fn a_member_certificate_names_the_member_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path(), "shop", NOW_MS, Overwrite::Refuse).unwrap();
        let files = authority
            .member(2, &["raft.example".to_owned()], NOW_MS, Overwrite::Refuse)
            .unwrap();
        assert_eq!(
            identity_of(&files.cert).unwrap(),
            Identity::Member {
                node_id: 2,
                cluster_id: "shop".to_owned()
            }
        );
        for key in [&files.key, &dir.path().join("ca-key.pem")] {
            let mode = std::fs::metadata(key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_client_certificate_names_the_client_and_its_rights() {
        let dir = tempfile::tempdir().unwrap();
        Authority::create(dir.path(), "shop", NOW_MS, Overwrite::Refuse).unwrap();
        let authority = Authority::load(dir.path()).unwrap();
        assert_eq!(authority.cluster_id(), "shop");
        for role in ClientRole::ALL {
            let files = authority
                .client("alice", role, NOW_MS, Overwrite::Force)
                .unwrap();
            assert_eq!(
                identity_of(&files.cert).unwrap(),
                Identity::Client {
                    name: "alice".to_owned(),
                    role
                }
            );
        }
        // As they were made before there were roles.
        let of = |name: &str| Identity::parse(name).map(|identity| identity.to_string());
        assert_eq!(
            of("alice.client.regraft").unwrap(),
            "client alice (operator)"
        );
        assert_eq!(of("alice.root.client.regraft"), None);
        assert_eq!(of("+1.shop.member.regraft"), None);
        assert_eq!(of("01.shop.member.regraft"), None);
        assert_eq!(of("alice.admin.admin.client.regraft"), None);
    }

    #[test]
    fn the_authority_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path(), "shop", NOW_MS, Overwrite::Refuse).unwrap();
        assert_eq!(
            identity_of(&authority.certificate_file()),
            Err("it names neither a member nor a client of regraft".to_owned())
        );
    }

    #[test]
    fn nothing_is_overwritten_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        Authority::create(dir.path(), "shop", NOW_MS, Overwrite::Refuse).unwrap();
        let before = std::fs::read(dir.path().join("ca-key.pem")).unwrap();
        let error = Authority::create(dir.path(), "shop", NOW_MS, Overwrite::Refuse).unwrap_err();
        assert!(matches!(&error, Error::FileExists { path } if path.ends_with("ca.pem")));
        assert_eq!(
            std::fs::read(dir.path().join("ca-key.pem")).unwrap(),
            before
        );
        Authority::create(dir.path(), "shop", NOW_MS, Overwrite::Force).unwrap();
        assert_ne!(
            std::fs::read(dir.path().join("ca-key.pem")).unwrap(),
            before
        );
    }

    #[test]
    fn names_that_are_no_dns_label_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let create = |id: &str| {
            Authority::create(dir.path(), id, NOW_MS, Overwrite::Refuse)
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(create("Shop EU"), @r#"cluster id "Shop EU" is not usable: 1 to 40 of a-z, 0-9 and '-', starting and ending with a letter or digit"#);
        insta::assert_snapshot!(create("a.b"), @r#"cluster id "a.b" is not usable: 1 to 40 of a-z, 0-9 and '-', starting and ending with a letter or digit"#);
        let authority = Authority::create(dir.path(), "shop", NOW_MS, Overwrite::Refuse).unwrap();
        let error = authority
            .member(0, &[], NOW_MS, Overwrite::Refuse)
            .unwrap_err();
        insta::assert_snapshot!(error, @"member id 0 is not usable: member ids start at 1 and are never used twice");
        let error = authority
            .client("../x", ClientRole::Operator, NOW_MS, Overwrite::Refuse)
            .unwrap_err();
        insta::assert_snapshot!(error, @r#"client name "../x" is not usable: 1 to 40 of a-z, 0-9 and '-', starting and ending with a letter or digit"#);
    }
}
