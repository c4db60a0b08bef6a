//! One POST, and what its answer means. Name resolution, TLS, credentials and the list of hosts are owlk8s's.

use owlk8s_plugin::http;

/// What became of it.
#[derive(Debug)]
pub(crate) enum Answer {
    Taken,
    /// It may succeed later; why.
    Later(String),
    /// It never will; why.
    Never(String),
}

/// Whether somebody can be told there. The error names the key, and no secret.
pub(crate) fn check(url: &str) -> Result<(), &'static str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or("config key `url`: must begin with https:// or http://")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        return Err("config key `url`: names no host");
    }
    if host.contains('@') {
        return Err(
            "config key `url`: holds a user: give credentials to the sink's `grant`, where no plugin sees them",
        );
    }
    Ok(())
}

/// To this URL.
pub(crate) fn post(url: &str, body: &[u8]) -> Answer {
    let sent = http::post(url)
        .header("content-type", "application/json")
        .body(body)
        .send();
    match sent {
        Ok(answer) => judge(answer.status),
        Err(http::Error::Denied(why)) => Answer::Never(why),
        Err(http::Error::Failed(why)) => Answer::Later(why),
    }
}

/// What a status means for the same request.
fn judge(status: u16) -> Answer {
    let why = format!("the receiver answered {status}");
    match status {
        200..=299 => Answer::Taken,
        401 | 403 | 408 | 425 | 429 | 500..=599 => Answer::Later(why),
        _ => Answer::Never(why),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, check, judge};

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_user() {
        for url in [
            "https://a.example/x?y=1",
            "http://10.0.0.1:8080",
            "http://[::1]:8080/@",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for (url, why) in [
            ("ftp://a", "must begin with https:// or http://"),
            ("https:///x", "names no host"),
            ("https://me:secret@a/x", "holds a user"),
        ] {
            let problem = check(url).unwrap_err();
            assert!(
                problem.contains(why) && !problem.contains("secret"),
                "{problem}"
            );
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for (status, later) in [
            (429, true),
            (503, true),
            (401, true),
            (400, false),
            (404, false),
            (301, false),
        ] {
            assert_eq!(matches!(judge(status), Answer::Later(_)), later, "{status}");
        }
        assert!(matches!(judge(204), Answer::Taken));
    }
}
