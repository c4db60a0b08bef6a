//! What says who we are. Files are read for every request, so that a token that was renewed is used at
//! once; what was shown to the server is taken out of what is quoted of its answer.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::Secrets;
use crate::config::{HIDDEN, HeaderSource, HttpEndpoint, Secret, SecretSource};

/// Of a file with a secret.
const SECRET_MAX: u64 = 64 << 10;
/// Shorter ones are not looked for in answers: they are part of words.
const FINDABLE: usize = 4;

/// Where one secret of a request is.
enum Source {
    File(std::path::PathBuf),
    /// Read by the agent.
    Value(Secret),
}

/// What becomes of it.
enum Form {
    Bearer,
    Basic { user: String },
    Whole,
}

struct Credential {
    /// The configuration's name of it.
    field: String,
    header: HeaderName,
    form: Form,
    source: Source,
}

/// All secrets of an endpoint.
pub(super) struct Credentials(Vec<Credential>);

impl Credentials {
    /// A variable that is not set is an error of the start; a file may come later.
    pub(super) fn new(config: &HttpEndpoint, secrets: &Secrets) -> Result<Self, String> {
        let mut all = Vec::new();
        let mut add = |field: String, header, form, source: &SecretSource| {
            let source = match source {
                SecretSource::File(path) => Source::File(path.clone()),
                SecretSource::Env(name) => {
                    let value = secrets.get(name).filter(|s| !s.expose().trim().is_empty());
                    let value = value.ok_or_else(|| {
                        format!("{field}: the agent has no environment variable {name}")
                    })?;
                    Source::Value(value.clone())
                }
            };
            all.push(Credential {
                field,
                header,
                form,
                source,
            });
            Ok::<_, String>(())
        };
        if let Some(path) = &config.bearer_token_file {
            let source = SecretSource::File(path.clone());
            add(
                "bearer_token_file".to_owned(),
                AUTHORIZATION,
                Form::Bearer,
                &source,
            )?;
        }
        if let Some(name) = &config.bearer_token_env {
            let source = SecretSource::Env(name.clone());
            add(
                "bearer_token_env".to_owned(),
                AUTHORIZATION,
                Form::Bearer,
                &source,
            )?;
        }
        if let Some(basic) = &config.basic {
            let form = Form::Basic {
                user: basic.user.clone(),
            };
            add(
                "basic.password".to_owned(),
                AUTHORIZATION,
                form,
                &basic.password,
            )?;
        }
        for (name, source) in &config.headers {
            if let HeaderSource::Secret(source) = source {
                let header = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| format!("headers: {name:?} is no header"))?;
                add(format!("headers.{name}"), header, Form::Whole, source)?;
            }
        }
        let all = Self(all);
        // Those of the environment do not change: what no header can hold is told now.
        for credential in &all.0 {
            if let Source::Value(value) = &credential.source {
                credential.header_value(value.expose().trim())?;
            }
        }
        Ok(all)
    }

    /// Into the request's headers; `shown` gets them in all forms that the server sees.
    pub(super) fn show(
        &self,
        headers: &mut HeaderMap,
        shown: &mut Vec<String>,
    ) -> Result<(), String> {
        for credential in &self.0 {
            let text = match &credential.source {
                Source::Value(value) => value.expose().to_owned(),
                Source::File(path) => read(path)
                    .map_err(|why| format!("{} {}: {why}", credential.field, path.display()))?,
            };
            let value = credential.header_value(text.trim())?;
            if let Some((_, encoded)) = value.to_str().ok().and_then(|v| v.split_once(' ')) {
                shown.push(encoded.to_owned());
            }
            shown.push(text.trim().to_owned());
            headers.insert(credential.header.clone(), value);
        }
        Ok(())
    }
}

impl Credential {
    fn header_value(&self, secret: &str) -> Result<HeaderValue, String> {
        if secret.is_empty() {
            return Err(format!("{}: is empty", self.field));
        }
        let text = match &self.form {
            Form::Bearer => format!("Bearer {secret}"),
            Form::Basic { user } => {
                format!(
                    "Basic {}",
                    BASE64_STANDARD.encode(format!("{user}:{secret}"))
                )
            }
            Form::Whole => secret.to_owned(),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            format!(
                "{}: holds characters that no header has, such as a line break",
                self.field
            )
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > SECRET_MAX {
        return Err(format!("{length} bytes are no secret"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

/// `text` with each of the secrets hidden: a server may quote what it was shown.
pub(super) fn without(text: &str, secrets: &[String]) -> String {
    let mut secrets: Vec<&String> = { secrets.iter() }
        .filter(|secret| secret.len() >= FINDABLE)
        .collect();
    // The longest first: a shorter one may be a part of it, and the rest would stay.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
        .into_iter()
        .fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
}
