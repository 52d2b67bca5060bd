//! What SDKs send, as far as its shape goes.

use inngest_core::canonical::{self, Numbers};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{FunctionDefinition, RegisterError, Registration, config, url};
use crate::config::{Problems, field};

/// The vulnerable range of the JS SDK, inclusive.
const JS_DENIED: ([u64; 3], [u64; 3]) = ([3, 22, 0], [3, 53, 1]);

/// What an SDK tells of its features is kept up to this length; it tells less than a tenth of it.
const FEATURE_OBSERVATIONS_BYTES_MAX: usize = 16 * 1024;

pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, RegisterError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(malformed("EOF"));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(malformed("a JSON object is expected")),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// The shape of an in-band reply, turned into that of a register body.
pub(super) fn from_in_band(reply: Map<String, Value>) -> Map<String, Value> {
    let mut body = reply;
    let text = |body: &Map<String, Value>, key| field(body, key).and_then(Value::as_str).map(str::to_owned);
    if field(&body, "sdk").is_none() {
        let language = text(&body, "sdk_language").unwrap_or_default();
        let version = text(&body, "sdk_version").unwrap_or_default();
        body.insert("sdk".into(), json!(format!("{language}:v{}", version.trim_start_matches('v'))));
    }
    if let Some(name) = text(&body, "app_id") {
        body.insert("appName".into(), json!(name));
    }
    body
}

pub(super) fn registration(body: &Map<String, Value>) -> Result<Registration, RegisterError> {
    let text = |key: &str| match field(body, key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(malformed(format!("{key} must be a string"))),
    };
    let url = url::normalise(&text("url")?);
    let sdk = text("sdk")?;
    let (sdk_language, sdk_version) = sdk.split_once(':').unwrap_or(("", sdk.as_str()));
    let app_name = text("appName")?;
    let definitions = match field(body, "functions") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(functions)) => functions.clone(),
        Some(_) => return Err(malformed("functions must be an array")),
    };
    if app_name.trim().is_empty() {
        return Err(RegisterError::AppIdRequired);
    }
    if is_denied(sdk_language, sdk_version) {
        return Err(RegisterError::SdkVersionDenied { url, version: sdk_version.to_owned() });
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(malformed("url must be an http or https URL"));
    }
    let mut problems = Problems::default();
    let mut functions: Vec<FunctionDefinition> = Vec::with_capacity(definitions.len());
    for definition in &definitions {
        let Some(definition) = config::function(definition, &mut problems) else { continue };
        // Of two functions with one id the last one counts.
        functions.retain(|other| other.slug != definition.slug);
        functions.push(definition);
    }
    match problems.into_parts() {
        (shapes, _) if !shapes.is_empty() => return Err(malformed(shapes.join("; "))),
        (_, reasons) if !reasons.is_empty() => return Err(RegisterError::InvalidFunctions { url, reasons }),
        _ => {}
    }
    functions.sort_by(|a, b| a.slug.cmp(&b.slug));
    let mut registration = Registration {
        app_name: app_name.into(),
        url: url.into(),
        sdk_language: sdk_language.to_owned(),
        sdk_version: sdk_version.to_owned(),
        framework: text("framework")?,
        app_version: Some(text("appVersion")?).filter(|version| !version.is_empty()),
        feature_observations: field(body, "featureObservations")
            .filter(|told| told.is_object())
            .map(Value::to_string)
            .filter(|told| told.len() <= FEATURE_OBSERVATIONS_BYTES_MAX),
        functions,
        checksum: String::new(),
    };
    registration.checksum = checksum(&registration);
    Ok(registration)
}

pub(super) fn malformed(text: impl Into<String>) -> RegisterError {
    RegisterError::Malformed(text.into())
}

/// The canonical text of a value.
pub(super) fn canonical(value: &Value) -> Vec<u8> {
    canonical::canonicalise(value.to_string().as_bytes(), Numbers::Exact).expect("serde_json writes JSON")
}

fn is_denied(language: &str, version: &str) -> bool {
    if !matches!(language, "js" | "inngest-js") {
        return false;
    }
    let numbers = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<u64> = numbers.split('.').map_while(|part| part.parse().ok()).collect();
    let Ok(version) = <[u64; 3]>::try_from(parts) else { return false };
    (JS_DENIED.0..=JS_DENIED.1).contains(&version)
}

fn checksum(registration: &Registration) -> String {
    let mut hash = Sha256::new();
    let head = json!([
        registration.app_name,
        registration.url,
        registration.sdk_language,
        registration.sdk_version,
        registration.framework,
        registration.app_version,
        registration.feature_observations,
    ]);
    hash.update(head.to_string());
    for function in &registration.functions {
        hash.update(&function.config);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
