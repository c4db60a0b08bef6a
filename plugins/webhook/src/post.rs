//! One POST by `wasi:http`. Name resolution, TLS, credentials and the list of hosts are owlk8s's.

/// What became of it.
#[derive(Debug)]
pub(crate) enum Answer {
    Taken,
    /// It may succeed later; why.
    Later(String),
    /// It never will; why.
    Never(String),
}

/// The parts of a URL that a request is made of.
#[derive(Debug, PartialEq)]
#[cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, reason = "only a guest can send")
)]
pub(crate) struct Url<'u> {
    https: bool,
    authority: &'u str,
    path: &'u str,
}

impl<'u> Url<'u> {
    /// The error names the key.
    pub(crate) fn parse(url: &'u str) -> Result<Self, String> {
        let wrong = |why: &str| format!("config key `url`: {why}");
        let (https, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(wrong("must begin with https:// or http://")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err(wrong("names no host"));
        }
        if authority.contains('@') {
            return Err(wrong(
                "holds a user: give credentials to the sink's `grant`, where no plugin sees them",
            ));
        }
        if path.contains('#') || !path.is_empty() && !path.starts_with('/') {
            return Err(wrong("must be a host, and a path behind it"));
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self {
            https,
            authority,
            path,
        })
    }
}

/// What a status means for the same request.
#[cfg_attr(
    not(any(target_family = "wasm", test)),
    expect(dead_code, reason = "only a guest can send")
)]
pub(crate) fn judge(status: u16) -> Answer {
    let why = format!("the receiver answered {status}");
    match status {
        200..=299 => Answer::Taken,
        401 | 403 | 408 | 425 | 429 | 500..=599 => Answer::Later(why),
        _ => Answer::Never(why),
    }
}

/// To this URL.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn post(_: &str, _: &[u8]) -> Answer {
    Answer::Never("only a guest can send".to_owned())
}

/// To this URL.
#[cfg(target_family = "wasm")]
pub(crate) fn post(url: &str, body: &[u8]) -> Answer {
    match Url::parse(url) {
        Ok(url) => match send(&url, body) {
            Ok(status) => judge(status),
            Err(why) => Answer::Later(why),
        },
        Err(why) => Answer::Never(why),
    }
}

#[cfg(target_family = "wasm")]
fn send(url: &Url<'_>, body: &[u8]) -> Result<u16, String> {
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

    /// Of one write to a stream, as its interface has it.
    const WRITE_MAX: usize = 4096;

    let json = ("content-type".to_owned(), b"application/json".to_vec());
    let headers = Fields::from_list(&[json]).map_err(|error| error.to_string())?;
    let request = OutgoingRequest::new(headers);
    let scheme = if url.https {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let refused = |()| "the URL is none that can be asked".to_owned();
    request.set_method(&Method::Post).map_err(refused)?;
    request.set_scheme(Some(&scheme)).map_err(refused)?;
    request
        .set_authority(Some(url.authority))
        .map_err(refused)?;
    request
        .set_path_with_query(Some(url.path))
        .map_err(refused)?;
    let outgoing = request.body().map_err(refused)?;
    let answer = handle(request, None).map_err(|error| error.to_string())?;
    let stream = outgoing.write().map_err(refused)?;
    for chunk in body.chunks(WRITE_MAX) {
        stream
            .blocking_write_and_flush(chunk)
            .map_err(|error| error.to_string())?;
    }
    drop(stream);
    OutgoingBody::finish(outgoing, None).map_err(|error| error.to_string())?;
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(response))) => Ok(response.status()),
        Some(Ok(Err(error))) => Err(error.to_string()),
        _ => Err("the answer was taken already".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Url, judge};

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_path() {
        let url = |https, authority, path| {
            Ok(Url {
                https,
                authority,
                path,
            })
        };
        for (text, parsed) in [
            ("https://a.example/x?y=1", url(true, "a.example", "/x?y=1")),
            ("http://10.0.0.1:8080", url(false, "10.0.0.1:8080", "/")),
        ] {
            assert_eq!(Url::parse(text), parsed);
        }
        for (text, why) in [
            ("ftp://a", "must begin with https:// or http://"),
            ("https:///x", "names no host"),
            ("https://me:secret@a/x", "holds a user"),
            ("https://a#x", "must be a host"),
        ] {
            let problem = Url::parse(text).unwrap_err();
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
