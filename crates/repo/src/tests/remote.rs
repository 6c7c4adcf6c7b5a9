//! Remotes that misbehave: small servers on loopback that say exactly what a case needs.

use super::world::World;
use crate::{Config, Credentials, Error, Repository};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use secrecy::SecretString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers every request with the same bytes and keeps the requests. Its thread ends with the process.
struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<String>>,
}

impl Server {
    fn answering(answer: &str) -> Self {
        Self::serve(answer.to_owned(), None)
    }

    fn serve(answer: String, tls: Option<SslAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(String::new()));
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                match &tls {
                    None => talk(stream, &answer, &hears),
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream) {
                            talk(stream, &answer, &hears);
                        }
                    }
                }
            }
        });
        Self { address, heard }
    }
}

fn talk(mut stream: impl Read + Write, answer: &str, heard: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
        heard.lock().unwrap().push_str(&request);
        if request.contains("\r\n\r\n") && stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn status(line: &str, headers: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n{headers}\r\n")
}

fn config(world: &World, url: String) -> Config {
    let mut config = Config::new("fleet", url, "main", world.clone_folder());
    config.patience = Duration::from_secs(20);
    config.proxy = crate::Proxy::Direct;
    config
}

fn basic() -> Credentials {
    Credentials::Basic {
        user: "bot".to_owned(),
        password: SecretString::from("s3cret"),
    }
}

fn ask(config: Config) -> Error {
    let mut repository = Repository::open(config).unwrap();
    let error = repository.fetch(None).unwrap_err();
    assert!(!error.chain().contains("s3cret"), "{}", error.chain());
    error
}

#[test]
fn every_way_a_server_can_refuse_has_its_word() {
    let unauthorized = status(
        "401 Unauthorized",
        "WWW-Authenticate: Basic realm=\"x\"\r\n",
    );
    let mut shown = String::new();
    for (name, answer, credentials) in [
        (
            "401 and no credentials",
            unauthorized.clone(),
            Credentials::None,
        ),
        ("401 again", unauthorized.clone(), basic()),
        (
            "401 for a token",
            unauthorized.clone(),
            Credentials::Bearer {
                token: SecretString::from("s3cret"),
            },
        ),
        ("403", status("403 Forbidden", ""), basic()),
        ("404", status("404 Not Found", ""), basic()),
        ("500", status("500 Internal Server Error", ""), basic()),
        (
            "no Git",
            status("200 OK", "Content-Type: text/html\r\n"),
            basic(),
        ),
        ("no http", "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), basic()),
    ] {
        let world = World::new();
        let server = Server::answering(&answer);
        let mut config = config(&world, format!("http://{}/fleet.git", server.address));
        config.credentials = credentials;
        let error = ask(config);
        shown += &format!("{name}: {} [{}]\n", error.chain(), error.next_action());
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_bearer_token_is_sent_and_shown_nowhere() {
    let world = World::new();
    let server = Server::answering(&status("404 Not Found", ""));
    let mut config = config(&world, format!("http://{}/fleet.git", server.address));
    config.credentials = Credentials::Bearer {
        token: SecretString::from("s3cret"),
    };
    ask(config);
    let heard = server.heard.lock().unwrap().clone();
    assert!(
        heard.contains("Authorization: Bearer s3cret\r\n"),
        "{heard}"
    );
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let world = World::new();
    let elsewhere = Server::answering(&status(
        "401 Unauthorized",
        "WWW-Authenticate: Basic realm=\"x\"\r\n",
    ));
    let to = format!(
        "Location: http://localhost:{}/fleet.git/info/refs?service=git-upload-pack\r\n",
        elsewhere.address.port()
    );
    let server = Server::answering(&status("302 Found", &to));
    let mut config = config(&world, format!("http://{}/fleet.git", server.address));
    config.credentials = basic();
    let error = ask(config);
    assert_eq!(error.reason(), "AuthenticationFailed", "{}", error.chain());
    let heard = elsewhere.heard.lock().unwrap().clone();
    assert!(heard.contains("GET /fleet.git/info/refs"), "{heard}");
    assert!(!heard.contains("Authorization"), "{heard}");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_given_up_in_time() {
    let world = World::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for scheme in ["http", "ssh"] {
        let url = format!("{scheme}://{}/fleet.git", silent.local_addr().unwrap());
        let mut config = config(&world, url);
        config.patience = Duration::from_millis(300);
        let error = ask(config);
        assert_eq!(error.reason(), "Timeout", "{}", error.chain());
    }
}

#[test]
fn a_remote_that_is_not_there_is_told_from_a_branch_that_is_not_there() {
    let world = World::new();
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = ask(config(&world, format!("http://{nobody}/fleet.git")));
    assert_eq!(error.reason(), "Unreachable", "{}", error.chain());
    let gone = format!("file://{}/gone.git", world.folder.path().display());
    assert_eq!(ask(config(&world, gone)).reason(), "RepositoryNotFound");
    // A repository without commits, and one without the branch.
    let mut repository = Repository::open(world.config()).unwrap();
    assert_eq!(
        repository.fetch(None).unwrap_err().reason(),
        "BranchMissing"
    );
    world.change("a", b"1");
    let mut other = world.config();
    other.branch = "release".into();
    let mut repository = Repository::open(other).unwrap();
    insta::assert_snapshot!(
        repository.fetch(None).unwrap_err().chain(),
        @"BranchMissing: repository fleet has no branch `release`"
    );
}

#[test]
fn a_certificate_counts_only_if_the_named_authority_signed_it_for_this_host() {
    let world = World::new();
    let (authority, authority_key) = certificate("ca", None, "");
    let (other, _) = certificate("other", None, "");
    let write = |name: &str, certificate: &X509| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, certificate.to_pem().unwrap()).unwrap();
        path
    };
    let (good, bad) = (write("ca.pem", &authority), write("other.pem", &other));
    let empty = world.folder.path().join("empty.pem");
    std::fs::write(&empty, b"").unwrap();
    let serve = |name: &str| {
        let (leaf, key) = certificate("leaf", Some((&authority, &authority_key)), name);
        let mut tls = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
        tls.set_private_key(&key).unwrap();
        tls.set_certificate(&leaf).unwrap();
        Server::serve(status("404 Not Found", ""), Some(tls.build()))
    };
    let (right, wrong) = (serve("127.0.0.1"), serve("10.9.9.9"));
    let mut shown = String::new();
    for (name, server, authority) in [
        ("signed by it", &right, Some(&good)),
        ("signed by another", &right, Some(&bad)),
        ("the system's authorities", &right, None),
        ("for another host", &wrong, Some(&good)),
        ("no authority in the file", &right, Some(&empty)),
    ] {
        let mut config = config(&world, format!("https://{}/fleet.git", server.address));
        config.credentials = basic();
        config.certificate_authority = authority.cloned();
        let folder = world.folder.path().display().to_string();
        shown += &format!(
            "{name}: {}\n",
            ask(config).chain().replace(&folder, "FOLDER")
        );
    }
    insta::assert_snapshot!(shown);
    assert!(!wrong.heard.lock().unwrap().contains("GET"));
}

fn certificate(
    name: &str,
    signer: Option<(&X509, &PKey<Private>)>,
    address: &str,
) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    match signer {
        None => {
            builder.set_issuer_name(&subject).unwrap();
            let authority = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(authority).unwrap();
            builder.sign(&key, MessageDigest::sha256()).unwrap();
        }
        Some((authority, authority_key)) => {
            builder.set_issuer_name(authority.subject_name()).unwrap();
            let context = builder.x509v3_context(Some(authority), None);
            let names = SubjectAlternativeName::new()
                .ip(address)
                .build(&context)
                .unwrap();
            builder.append_extension(names).unwrap();
            builder
                .sign(authority_key, MessageDigest::sha256())
                .unwrap();
        }
    }
    (builder.build(), key)
}
