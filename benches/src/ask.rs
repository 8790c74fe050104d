use std::{fmt, net::SocketAddr};

use crate::{JOBS, PATH};

/// What a client asks for, again and again; it gets the same answer to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A `GET` without a header but `Host`.
    Bare,
    /// The same with what a browser sends along: twelve headers more, a `User-Agent` of 101 bytes among them.
    Browser,
    /// A `POST` of 100 bytes with the same headers.
    Post,
}

impl Ask {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bare, Self::Browser, Self::Post];

    /// The bytes of a request.
    #[must_use]
    pub fn request(self, address: SocketAddr) -> Vec<u8> {
        let (method, path) = if self == Self::Post { ("POST", JOBS) } else { ("GET", PATH) };
        let headers = if self == Self::Bare { "" } else { HEADERS };
        let body =
            if self == Self::Post { format!("Content-Length: {}\r\n\r\n{JOB}", JOB.len()) } else { "\r\n".into() };
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}{body}").into_bytes()
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bare => "bare",
            Self::Browser => "browser",
            Self::Post => "post",
        })
    }
}

const HEADERS: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    Cache-Control: no-cache\r\n\
    Cookie: session=2f1c5a9be0d34c7f; theme=dark\r\n\
    Content-Type: application/json\r\n\
    Referer: https://shop.example/\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=1, i\r\n";
const JOB: &str =
    r#"{"order":4711,"customer":"b7d1f0","lines":[{"sku":"A-100","count":2},{"sku":"B-7","count":1}],"x":1}"#;
