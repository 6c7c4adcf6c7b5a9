//! Verifies a server's certificate against the one authority file the configuration names.
//!
//! libgit2 hands over the leaf only, so the file must hold the intermediates too. With an authority file the system's
//! authorities count for nothing, as with Git's `http.sslCAInfo`.

use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext, X509VerifyResult};
use std::net::IpAddr;
use std::path::Path;

/// Checks a leaf certificate in DER for a host. The error says why not.
pub(crate) fn check(authority: &Path, leaf: &[u8], host: &str) -> Result<(), String> {
    let pem = std::fs::read(authority)
        .map_err(|error| format!("cannot read {}: {error}", authority.display()))?;
    let authorities = X509::stack_from_pem(&pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| format!("{} holds no PEM certificate", authority.display()))?;
    let leaf = X509::from_der(leaf).map_err(|_| "it cannot be read".to_owned())?;
    match verify(authorities, &leaf, host) {
        Ok(X509VerifyResult::OK) => Ok(()),
        Ok(problem) => Err(format!("{} (for {host})", problem.error_string())),
        Err(error) => Err(error.to_string()),
    }
}

fn verify(authorities: Vec<X509>, leaf: &X509, host: &str) -> Result<X509VerifyResult, ErrorStack> {
    let store = store(authorities, host)?;
    let no_chain = Stack::new()?;
    let mut context = X509StoreContext::new()?;
    context.init(&store, leaf, &no_chain, |context| {
        Ok(match context.verify_cert()? {
            true => X509VerifyResult::OK,
            false => context.error(),
        })
    })
}

fn store(authorities: Vec<X509>, host: &str) -> Result<X509Store, ErrorStack> {
    let mut parameters = X509VerifyParam::new()?;
    match host.parse::<IpAddr>() {
        Ok(address) => parameters.set_ip(address)?,
        Err(_) => parameters.set_host(host)?,
    }
    // An authority file may end at an intermediate that the person trusts.
    parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    parameters.set_purpose(X509PurposeId::SSL_SERVER)?;
    let mut builder = X509StoreBuilder::new()?;
    for certificate in authorities {
        builder.add_cert(certificate)?;
    }
    builder.set_param(&parameters)?;
    Ok(builder.build())
}
