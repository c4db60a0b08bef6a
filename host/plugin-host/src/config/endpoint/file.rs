use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Size;

/// Appended to a file, which is made when it is not there, and rotated: `log` becomes `log.1`, that
/// `log.2`, and so on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEndpoint {
    /// In a directory that exists.
    pub path: PathBuf,
    /// Of a file that is made here: octal digits.
    #[serde(default)]
    pub permissions: Permissions,
    /// Rotated before a payload that would make it larger; 0 turns it off.
    #[serde(default = "rotate_size")]
    pub rotate_size: Size,
    /// Rotated before the first payload after the file is so old.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    pub rotate_after: Option<Duration>,
    /// Rotated files that stay; older ones are removed.
    #[serde(default = "keep")]
    pub keep: u32,
    /// Rotated files are compressed, and get `.gz` behind their number.
    #[serde(default)]
    pub gzip: bool,
}

/// With `keep`, what a sink takes of a disk: 6 x 64 MiB.
fn rotate_size() -> Size {
    Size(64 << 20)
}

fn keep() -> u32 {
    5
}

/// Mode bits of a file, written as octal digits: `"0640"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Permissions(pub u32);

impl Default for Permissions {
    fn default() -> Self {
        Self(0o644)
    }
}

impl TryFrom<String> for Permissions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if bits <= 0o777 && text.len() >= 3 => Ok(Self(bits)),
            _ => Err(format!(
                "{text:?} are no permissions; write octal digits, such as \"0640\""
            )),
        }
    }
}

impl From<Permissions> for String {
    fn from(permissions: Permissions) -> Self {
        permissions.to_string()
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}
