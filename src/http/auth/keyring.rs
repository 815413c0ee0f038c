//! The keys and fixed tokens that are in force.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use super::claims::{KeyPrint, Pass, PassError, PassText};
use super::settings::{AuthSettings, MIN_SECRET_BYTES};

/// Shortest fixed token, in bytes: 20 random letters and digits cannot be tried out.
const MIN_TOKEN_BYTES: usize = 20;

/// Largest file of keys or tokens, in bytes: some thousand of either.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why keys or fixed tokens cannot be used.
#[derive(Debug, Error)]
#[error("{setting} {}: {reason}", path.display())]
pub struct KeyError {
    setting: &'static str,
    path: PathBuf,
    reason: String,
}

/// One key, and the one algorithm that it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) decoding: DecodingKey,
    pub(super) algorithm: Algorithm,
    pub(super) print: KeyPrint,
}

/// Everything that tokens are checked against.
#[derive(Default)]
pub(super) struct Keyring {
    /// For tokens that name no key: `--key`, or the only key of the file.
    unnamed: Option<Key>,
    named: BTreeMap<String, Key>,
    tokens: Vec<StaticToken>,
}

/// A fixed token, known by its hash.
struct StaticToken {
    print: KeyPrint,
    pass: Pass,
}

impl Keyring {
    pub(super) fn load(settings: &AuthSettings) -> Result<Self, KeyError> {
        let mut keyring = Self::default();
        if let Some(path) = &settings.keys {
            let refused = |reason| error("--keys", path, reason);
            keyring.named = read(path)
                .and_then(|text| named_keys(&text))
                .map_err(refused)?;
        }
        if let Some(path) = &settings.static_tokens {
            let refused = |reason| error("--static-tokens", path, reason);
            keyring.tokens = read(path)
                .and_then(|text| static_tokens(&text))
                .map_err(refused)?;
        }
        keyring.unnamed = match &settings.key {
            Some(secret) => Some(Key::shared(secret.as_bytes())),
            None if keyring.named.len() == 1 => keyring.named.values().next().cloned(),
            None => None,
        };
        Ok(keyring)
    }

    /// The key that a token names, by `kid`. A name is looked up here and nowhere else.
    pub(super) fn key(&self, kid: Option<&str>) -> Option<&Key> {
        match kid {
            Some(kid) => self.named.get(kid),
            None => self.unnamed.as_ref(),
        }
    }

    /// What a fixed token allows. Takes equally long for each that it is not.
    pub(super) fn static_pass(&self, token: &str) -> Option<&Pass> {
        let print = print_of(token.as_bytes());
        let mut found = None;
        for candidate in &self.tokens {
            let equal: Choice = candidate.print.0.ct_eq(&print.0);
            if bool::from(equal) {
                found = Some(&candidate.pass);
            }
        }
        found
    }

    /// Whether a key or fixed token is still in force.
    pub(super) fn holds(&self, print: KeyPrint) -> bool {
        let mut keys = self.named.values().chain(&self.unnamed);
        keys.any(|key| key.print == print) || self.tokens.iter().any(|token| token.print == print)
    }

    /// How many keys and fixed tokens there are.
    pub(super) fn len(&self) -> (usize, usize) {
        let unnamed = usize::from(self.unnamed.is_some() && self.named.len() != 1);
        (self.named.len() + unnamed, self.tokens.len())
    }
}

impl Key {
    /// A secret that signs and verifies (HS256).
    pub(super) fn shared(secret: &[u8]) -> Self {
        Self {
            decoding: DecodingKey::from_secret(secret),
            algorithm: Algorithm::HS256,
            print: print_of(secret),
        }
    }

    /// One member of a JWK set; its type and curve say which algorithm it is for.
    fn of_jwk(value: serde_json::Value) -> Result<Self, String> {
        let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
        let (algorithm, name, bytes) = match (text("kty"), text("crv")) {
            (Some("oct"), _) => (Algorithm::HS256, "HS256", MIN_SECRET_BYTES..=1024),
            // An uncompressed point: a tag and two coordinates.
            (Some("EC"), Some("P-256")) => (Algorithm::ES256, "ES256", 65..=65),
            (Some("OKP"), Some("Ed25519")) => (Algorithm::EdDSA, "EdDSA", 32..=32),
            _ => return Err("kty is neither oct, EC with P-256, nor OKP with Ed25519".into()),
        };
        if text("alg").is_some_and(|alg| alg != name) {
            return Err(format!("alg is not {name}, which is what the key is for"));
        }
        if value.get("d").is_some() {
            return Err("d is private: keep it where tokens are made".into());
        }
        let jwk = Jwk::deserialize(value).map_err(|_| "it is not a JWK".to_owned())?;
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "it is not a key".to_owned())?;
        let material = decoding
            .try_get_as_bytes()
            .map_err(|_| "it is not a key".to_owned())?;
        if !bytes.contains(&material.len()) {
            return Err(format!("it has {} bytes", material.len()));
        }
        Ok(Self {
            print: print_of(material),
            algorithm,
            decoding,
        })
    }
}

fn print_of(bytes: &[u8]) -> KeyPrint {
    let hash = digest(&SHA256, bytes);
    KeyPrint(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

fn error(setting: &'static str, path: &Path, reason: String) -> KeyError {
    KeyError {
        setting,
        path: path.to_owned(),
        reason,
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

/// A file of keys (RFC 7517 §5).
#[derive(Deserialize)]
struct KeyFile {
    keys: Vec<serde_json::Value>,
}

fn named_keys(text: &str) -> Result<BTreeMap<String, Key>, String> {
    let file: KeyFile = serde_json::from_str(text).map_err(|error| position(&error))?;
    let mut named = BTreeMap::new();
    for (index, value) in file.keys.into_iter().enumerate() {
        let place = format!("key {}", index + 1);
        let kid = value.get("kid").and_then(serde_json::Value::as_str);
        let kid = kid.ok_or_else(|| format!("{place} has no kid"))?.to_owned();
        let key = Key::of_jwk(value).map_err(|reason| format!("{place}: {reason}"))?;
        if named.insert(kid, key).is_some() {
            return Err(format!("{place} has the kid of another"));
        }
    }
    if named.is_empty() {
        return Err("there is no key in it".into());
    }
    Ok(named)
}

/// A file of fixed tokens.
#[derive(Deserialize)]
struct TokenFile {
    tokens: Vec<TokenEntry>,
}

#[derive(Deserialize)]
struct TokenEntry {
    token: String,
    #[serde(flatten)]
    pass: PassText,
}

fn static_tokens(text: &str) -> Result<Vec<StaticToken>, String> {
    let file: TokenFile = serde_json::from_str(text).map_err(|error| position(&error))?;
    let checked = file.tokens.into_iter().enumerate().map(|(index, entry)| {
        let place = format!("token {}", index + 1);
        if entry.token.len() < MIN_TOKEN_BYTES {
            return Err(format!("{place} is shorter than {MIN_TOKEN_BYTES} bytes"));
        }
        let print = print_of(entry.token.as_bytes());
        let pass = entry.pass.check(None, print);
        let pass = pass.map_err(|reason: PassError| format!("{place}: {reason}"))?;
        Ok(StaticToken { print, pass })
    });
    checked.collect()
}

/// Where a file is not as it should be; never what stands there, which is a secret.
fn position(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!("not as documented at line {line}, column {column}")
}
