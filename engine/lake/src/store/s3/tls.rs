//! Encrypted connections without C: rustls on graviola, whose primitives are Rust and proven assembler that rustc
//! itself assembles. The price is the list of processors that it knows; see `decisions/0007`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Why there can be no encrypted connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Nothing to check a server's certificate against.
    #[error("no root certificates found: install ca-certificates, or name a file in ca_bundle or AWS_CA_BUNDLE")]
    NoRoots,
    /// A file of certificates that is not one.
    #[error("no certificates in {path:?}, which ca_bundle or AWS_CA_BUNDLE names{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        why: Option<String>,
    },
    /// graviola does not run here.
    #[error("https needs a processor with {0}")]
    Processor(&'static str),
}

/// Trusts whoever signed the certificates in `ca_bundle`, a file of them in PEM; without one, what the operating system
/// trusts, or `SSL_CERT_FILE` and `SSL_CERT_DIR`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) fn config(ca_bundle: Option<&Path>) -> Result<TlsConfig, TlsError> {
    if !processor_suffices() {
        return Err(TlsError::Processor(NEEDED));
    }
    let loaded = match ca_bundle {
        Some(_) => rustls_native_certs::load_certs_from_paths(ca_bundle, None),
        None => rustls_native_certs::load_native_certs(),
    };
    // A certificate of many that cannot be read is no reason to do without the others.
    let certificates: Vec<_> = loaded
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    if let Some(path) = ca_bundle.filter(|_| certificates.is_empty()) {
        return Err(TlsError::Bundle {
            path: path.to_owned(),
            why: loaded.errors.first().map(ToString::to_string),
        });
    }
    if certificates.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .build())
}

/// No primitives for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn config(_ca_bundle: Option<&Path>) -> Result<TlsConfig, TlsError> {
    Err(TlsError::Processor("the architecture x86_64 or aarch64"))
}

#[cfg(target_arch = "x86_64")]
const NEEDED: &str = "AES, AVX2, ADX, BMI2 and PCLMULQDQ, as most since 2014";
#[cfg(target_arch = "aarch64")]
const NEEDED: &str = "AES, SHA2, PMULL and NEON";

#[cfg(target_arch = "x86_64")]
fn processor_suffices() -> bool {
    std::is_x86_feature_detected!("aes")
        && std::is_x86_feature_detected!("ssse3")
        && std::is_x86_feature_detected!("avx")
        && std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("adx")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn processor_suffices() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("sha2")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("neon")
}
