//! [`Http`]: a client of HTTP/1.1 that sends exactly what a test says, also what no browser would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, Result};

/// How long an answer may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where to send requests to, and with which headers.
#[derive(Clone, Debug)]
pub struct Http {
    host: String,
    headers: Vec<(String, String)>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status: 200, 404, …
    pub status: u16,
    /// The headers, their names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer encoding.
    pub body: Vec<u8>,
}

impl Http {
    /// A client of `http://HOST:PORT/…`; what stands behind the port is left out.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let host = url.trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or(host).to_owned();
        Self { headers: vec![("Host".to_owned(), host.clone())], host }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<Response> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request.push_str("Content-Type: application/json\r\n");
            }
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.raw(format!("{request}\r\n{}", body.unwrap_or_default()).as_bytes())
    }

    /// `GET`, of which the answer must be JSON.
    ///
    /// # Errors
    /// When it is refused, or is something else.
    #[track_caller]
    pub fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, None)?.json()
    }

    /// A request with a body of JSON, of which the answer must be JSON.
    ///
    /// # Errors
    /// When it is refused, or is something else.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        self.send(method, path, Some(&body.to_string()))?.json()
    }

    /// Sends bytes and reads what is answered.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn raw(&self, bytes: &[u8]) -> Result<Response> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let _ = stream.write_all(bytes); // who is refused early closes before all is sent
        Response::read(BufReader::new(stream))
    }

    /// Opens a stream that does not end, and gives its lines as they come.
    ///
    /// # Errors
    /// When it is refused.
    pub fn stream(&self, path: &str) -> Result<impl Iterator<Item = String> + use<>> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes())?;
        let mut reader = BufReader::new(stream);
        let (status, _) = read_head(&mut reader)?;
        if status != 200 {
            return Err(Failure::new(format!("GET {path}: {status}")));
        }
        Ok(reader.lines().map_while(std::io::Result::ok))
    }
}

impl Response {
    fn read(mut reader: impl BufRead) -> Result<Self> {
        let (status, headers) = read_head(&mut reader)?;
        let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut body = Vec::new();
        if value("transfer-encoding") == Some("chunked") {
            read_chunks(&mut reader, &mut body)?;
        } else if let Some(length) = value("content-length").and_then(|length| length.parse().ok()) {
            reader.take(length).read_to_end(&mut body)?;
        }
        Ok(Self { status, headers, body })
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of a request that succeeded; `null` where it is empty.
    ///
    /// # Errors
    /// When it was refused, or the body is no JSON.
    #[track_caller]
    pub fn json(&self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            return Err(Failure::new(format!("answered {}: {}", self.status, self.text())));
        }
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Reads the first line and the headers.
fn read_head(reader: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| Failure::new(format!("no answer, but `{}`", line.trim_end())))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_lowercase(), value.trim().to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(|_| Failure::new(format!("`{}` is no length", line.trim())))?;
        if length == 0 {
            return Ok(());
        }
        reader.by_ref().take(length).read_to_end(body)?;
        reader.read_line(&mut String::new())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_length_and_in_chunks() {
        let plain = Response::read(&b"HTTP/1.1 404 Not Found\r\nX-A: b\r\nContent-Length: 2\r\n\r\nhi!"[..]).unwrap();
        assert_eq!((plain.status, plain.header("x-a"), plain.text().as_str()), (404, Some("b"), "hi"));
        assert!(plain.json().is_err());
        let chunked =
            Response::read(&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"[..]).unwrap();
        assert_eq!(chunked.json().unwrap(), serde_json::json!([1, 2]));
        assert!(Response::read(&b""[..]).is_err());
    }
}
