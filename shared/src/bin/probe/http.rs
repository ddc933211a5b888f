//! As much of HTTP/1.1 as a file server needs: RFC 9110 and RFC 9112.

/// The longest request line and headers together, in bytes.
pub const HEAD_LIMIT: usize = 8 * 1024;

/// A request without its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Decoded, without the query, starts with `/`.
    pub path: String,
    /// The client expects more answers on this connection.
    pub keep_alive: bool,
    /// A body follows; we do not read it.
    pub has_body: bool,
}

/// Where the head of a request ends in `bytes`, the empty line included.
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Parses the head of a request; None: it is malformed, the answer is 400.
pub fn parse(head: &[u8]) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let newer = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    if words.next().is_some() || method.is_empty() || !method.bytes().all(is_token) {
        return None;
    }
    let mut request = Request {
        method: method.to_owned(),
        path: path(target)?,
        keep_alive: newer,
        has_body: false,
    };
    let mut hosts = 0;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None; // also a space before the colon, and lines folded the old way
        }
        hosts += usize::from(name.eq_ignore_ascii_case("host"));
        header(&mut request, name, value.trim())?;
    }
    // RFC 9112, section 3.2: exactly one in 1.1.
    (hosts == 1 || (!newer && hosts == 0)).then_some(request)
}

fn header(request: &mut Request, name: &str, value: &str) -> Option<()> {
    if name.eq_ignore_ascii_case("connection") {
        for option in value.split(',').map(str::trim) {
            if option.eq_ignore_ascii_case("close") {
                request.keep_alive = false;
            } else if option.eq_ignore_ascii_case("keep-alive") {
                request.keep_alive = true;
            }
        }
    } else if name.eq_ignore_ascii_case("content-length") {
        request.has_body |= value.parse::<u64>().ok()? > 0;
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        request.has_body = true;
    }
    Some(())
}

/// The path of a request target: `/a%20b?c` or `http://host/a`, decoded.
fn path(target: &str) -> Option<String> {
    let rest = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let path = rest.split(['?', '#']).next()?;
    path.starts_with('/').then(|| decoded(path))?
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let value = |digit: u8| char::from(digit).to_digit(16);
            out.push(u8::try_from(value(digits[0])? * 16 + value(digits[1])?).ok()?);
        } else if byte.is_ascii_control() {
            return None;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The head of an answer, the empty line included.
pub fn head(status: u16, kind: &str, length: u64, keep_alive: bool) -> String {
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 {status} {}\r\nServer: probe\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\nX-Content-Type-Options: nosniff\r\n{allow}\
         Connection: {connection}\r\n\r\n",
        reason(status)
    )
}

/// The status in words.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str) -> Option<Request> {
        parse(text.as_bytes())
    }

    #[test]
    fn an_ordinary_request() {
        let request = get("GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/a b"));
        assert!(request.keep_alive && !request.has_body);
    }

    #[test]
    fn keeping_the_connection() {
        let keep = |text| get(text).unwrap().keep_alive;
        assert!(!keep("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.1\r\nHost: x\r\nconnection: x, close\r\n\r\n"));
    }

    #[test]
    fn bodies_are_noticed() {
        let body = |header| {
            get(&format!("GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n")).map(|r| r.has_body)
        };
        assert_eq!(body("Content-Length: 0"), Some(false));
        assert_eq!(body("Content-Length: 9"), Some(true));
        assert_eq!(body("Content-Length: +"), None);
        assert_eq!(body("Transfer-Encoding: chunked"), Some(true));
    }

    #[test]
    fn malformed() {
        for text in [
            "",
            "GET\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/2\r\nHost: x\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /%f HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            assert_eq!(get(text), None, "{text:?}");
        }
    }

    #[test]
    fn where_the_head_ends() {
        assert_eq!(head_length(b"GET / HTTP/1.0\r\n\r\nmore"), Some(18));
        assert_eq!(head_length(b"GET / HTTP/1.0\r\n"), None);
    }
}
