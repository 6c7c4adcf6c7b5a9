//! Requests of HTTP/1.1 as Git's clients send them, and answers that end the connection.

use std::io::{self, BufRead, Read as _, Write};

/// Longest line and most headers of a request: Git's are a few hundred bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;
const HEADERS_MAX: usize = 100;
/// Largest pack that a test pushes.
const BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// One request, read whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Reads one from a connection; `None` when the client closed it before.
    pub(super) fn read(
        input: &mut impl BufRead,
        output: &mut impl Write,
    ) -> io::Result<Option<Self>> {
        let first = line(input)?;
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Ok(None);
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = Vec::new();
        loop {
            let header = line(input)?;
            if header.is_empty() {
                break;
            }
            if headers.len() == HEADERS_MAX {
                return Err(io::Error::other("too many headers"));
            }
            if let Some((name, value)) = header.split_once(':') {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: Vec::new(),
        };
        if request
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
        {
            output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            output.flush()?;
        }
        request.body = body(input, &request)?;
        Ok(Some(request))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

fn body(input: &mut impl BufRead, request: &Request) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let head = line(input)?;
            let size = head.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            exactly(input, size, &mut body)?;
            line(input)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = request
        .header("content-length")
        .map_or(Ok(0), str::parse)
        .map_err(io::Error::other)?;
    exactly(input, length, &mut body)?;
    Ok(body)
}

fn exactly(input: &mut impl BufRead, size: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let before = body.len();
    if size > BODY_BYTES_MAX {
        return Err(io::Error::other("the request is too large"));
    }
    input.take(size).read_to_end(body)?;
    if (body.len() - before) as u64 == size {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Writes an answer; the connection is closed after it.
pub(super) fn answer(
    output: &mut impl Write,
    status: &str,
    headers: &str,
    body: &[u8],
) -> io::Result<()> {
    write!(
        output,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    output.write_all(body)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Request {
        Request::read(&mut text.as_bytes(), &mut Vec::new())
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        let request = read(
            "POST /repo.git/git-receive-pack HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!(request.body, b"abcde");
    }

    #[test]
    fn a_body_that_is_cut_is_an_error() {
        let text = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
        assert!(Request::read(&mut text.as_bytes(), &mut Vec::new()).is_err());
    }

    #[test]
    fn a_client_that_waits_for_continue_is_told_to_go_on() {
        let mut output = Vec::new();
        let text = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
        Request::read(&mut text.as_bytes(), &mut output).unwrap();
        assert_eq!(output, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
}
