//! [`Browser`]: Chromium, driven as a person would: by what can be seen and clicked. It speaks WebDriver, which is JSON over
//! HTTP, to the driver of the same package.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock::{PATIENCE, eventually};
use crate::failure::{Failure, Result};
use crate::http::Http;

/// The programs of Debian's packages `chromium` and `chromium-driver`.
const BROWSER: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// Names a folder in which pictures of what a test sees are kept: those in `docs/screenshots` are made so.
const PICTURES_VARIABLE: &str = "POTLUCK_SCREENSHOTS";
/// The window on a desk, in pixels.
const DESK: (u32, u32) = (1280, 800);
/// The same on a phone.
const PHONE: (u32, u32) = (390, 844);
/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Dropping it ends it.
///
/// Dropping also panics when a page complained on the console: no test is passed by a page that did. Start it after the programs
/// whose pages it opens: a page whose program is gone complains too.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    http: Http,
    session: String,
    _profile: TempDir,
}

/// Something on the page.
#[derive(Debug)]
pub struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

impl Browser {
    /// Starts a browser with a fresh profile; `None` when none is installed here, which is said on stderr.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub fn start() -> Result<Option<Self>> {
        if !Path::new(BROWSER).exists() || !Path::new(DRIVER).exists() {
            // Not by a macro, whose output a test that passes keeps to itself.
            writeln!(std::io::stderr(), "skipped: no browser is installed here (apt install chromium chromium-driver)")?;
            return Ok(None);
        }
        let mut driver = Command::new(DRIVER).arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = driver.stdout.take().ok_or_else(|| Failure::new("the driver has no output"))?;
        let mut lines = BufReader::new(stdout).lines().map_while(std::io::Result::ok);
        let port = lines.find_map(|line| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok());
        let port = port.ok_or_else(|| Failure::new("the driver names no port"))?;
        let profile = tempfile::Builder::new().prefix("browser").tempdir()?;
        let http = Http::new(&format!("127.0.0.1:{port}"));
        let mut browser = Self { driver, http, session: String::new(), _profile: profile };
        browser.open_session()?;
        browser.resize(DESK)?;
        Ok(Some(browser))
    }

    fn open_session(&mut self) -> Result {
        // No sandbox, because a container seldom lets root make one; what is shown is our own page.
        let flags = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--autoplay-policy=no-user-gesture-required".to_owned(),
            format!("--user-data-dir={}", self._profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": BROWSER, "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let opened = self.http.call("POST", "/session", &wanted)?;
        let id = opened["value"]["sessionId"].as_str().ok_or_else(|| Failure::new(format!("no session: {opened}")))?;
        id.clone_into(&mut self.session);
        Ok(())
    }

    #[track_caller]
    fn call(&self, method: &str, command: &str, body: &Value) -> Result<Value> {
        let path = format!("/session/{}/{command}", self.session);
        let answer = match method {
            "POST" => self.http.call("POST", &path, body)?,
            method => self.http.send(method, &path, None)?.json()?,
        };
        Ok(answer["value"].clone())
    }

    /// Opens an address.
    ///
    /// # Errors
    /// When it cannot be loaded.
    #[track_caller]
    pub fn open(&self, url: &str) -> Result {
        self.call("POST", "url", &json!({ "url": url })).map(drop)
    }

    /// Makes the window so wide and so high, in pixels; narrow ones are a phone's.
    ///
    /// # Errors
    /// When the browser refuses.
    #[track_caller]
    pub fn resize(&self, (width, height): (u32, u32)) -> Result {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.call("POST", "goog/cdp/execute", &command).map(drop)
    }

    /// Runs a script on the page and gives what it returns.
    ///
    /// # Errors
    /// When it throws.
    #[track_caller]
    pub fn run(&self, script: &str) -> Result<Value> {
        self.call("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// How long after it was asked for the page first showed something.
    ///
    /// # Errors
    /// When nothing is shown.
    #[track_caller]
    pub fn first_paint(&self) -> Result<Duration> {
        let script = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
        let milliseconds = eventually(PATIENCE, "something is shown", || Ok(self.run(script)?.as_f64()))?;
        Ok(Duration::from_secs_f64(milliseconds / 1000.0))
    }

    /// Waits for an element by a CSS selector.
    ///
    /// # Errors
    /// When it does not appear.
    #[track_caller]
    pub fn find(&self, selector: &str) -> Result<Element<'_>> {
        let elements = eventually(PATIENCE, &format!("{selector} appears"), || Ok(self.all(selector)?.into_iter().next()));
        elements.map_err(|failure| Failure::new(format!("{}\n{}", failure.message(), self.describe())))
    }

    /// Clicks on what a selector names, as soon as it is there.
    ///
    /// # Errors
    /// When it cannot be clicked on.
    #[track_caller]
    pub fn click(&self, selector: &str) -> Result {
        // What is redrawn just then is looked for again.
        eventually(PATIENCE, &format!("{selector} can be clicked on"), || match self.find(selector)?.click() {
            Ok(()) => Ok(Some(())),
            Err(failure) if failure.message().contains("stale") || failure.message().contains("intercepted") => Ok(None),
            Err(failure) => Err(failure),
        })
    }

    /// The elements that fit now.
    ///
    /// # Errors
    /// When the selector makes no sense.
    #[track_caller]
    pub fn all(&self, selector: &str) -> Result<Vec<Element<'_>>> {
        let found = self.call("POST", "elements", &json!({ "using": "css selector", "value": selector }))?;
        let ids = found.as_array().into_iter().flatten().filter_map(|element| element[ELEMENT].as_str());
        Ok(ids.map(|id| Element { browser: self, id: id.to_owned() }).collect())
    }

    /// Waits until the text of the page holds something.
    ///
    /// # Errors
    /// When it does not.
    #[track_caller]
    pub fn reads(&self, text: &str) -> Result {
        let what = format!("the page reads `{text}`");
        let seen = eventually(PATIENCE, &what, || Ok(self.text()?.contains(text).then_some(())));
        seen.map_err(|failure| Failure::new(format!("{}\n{}", failure.message(), self.describe())))
    }

    /// What can be read on the page.
    ///
    /// # Errors
    /// When the browser is gone.
    #[track_caller]
    pub fn text(&self) -> Result<String> {
        Ok(self.run("return document.body.innerText")?.as_str().unwrap_or_default().to_owned())
    }

    /// What the page said on the console that was worse than information.
    ///
    /// # Errors
    /// When the browser is gone.
    #[track_caller]
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.call("POST", "se/log", &json!({ "type": "browser" }))?;
        let bad = |line: &&Value| matches!(line["level"].as_str(), Some("SEVERE" | "WARNING"));
        Ok(log.as_array().into_iter().flatten().filter(bad).map(|line| line["message"].to_string()).collect())
    }

    /// A picture of what is seen, as PNG.
    ///
    /// # Errors
    /// When the browser is gone.
    #[track_caller]
    pub fn picture(&self) -> Result<Vec<u8>> {
        let text = self.call("GET", "screenshot", &Value::Null)?;
        from_base64(text.as_str().unwrap_or_default())
    }

    /// Keeps a picture under a name, if somebody wants pictures.
    ///
    /// # Errors
    /// When it cannot be taken or written.
    #[track_caller]
    pub fn keep(&self, name: &str) -> Result {
        let Some(folder) = std::env::var_os(PICTURES_VARIABLE).map(PathBuf::from) else { return Ok(()) };
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(format!("{name}.png")), self.picture()?)?)
    }

    /// The same, and what it looks like in the dark and on a phone.
    ///
    /// # Errors
    /// When one cannot be taken or written.
    #[track_caller]
    pub fn keep_all(&self, name: &str) -> Result {
        self.keep(name)?;
        if std::env::var_os(PICTURES_VARIABLE).is_some() {
            self.run("document.documentElement.dataset.theme = 'dark'")?;
            self.keep(&format!("{name}-dark"))?;
            self.run("document.documentElement.dataset.theme = 'light'")?;
            self.resize(PHONE)?;
            self.keep(&format!("{name}-phone"))?;
            self.resize(DESK)?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let text = self.text().unwrap_or_default();
        let complaints = self.complaints().unwrap_or_default().join("\n");
        format!("the page reads:\n{text}\nits console:\n{complaints}")
    }
}

impl Drop for Browser {
    #[allow(clippy::panic, reason = "a page that complained fails the test that opened it")]
    fn drop(&mut self) {
        let complaints = if std::thread::panicking() { Vec::new() } else { self.complaints().unwrap_or_default() };
        // Closes the browser, which would outlive its driver; the driver may have ended by itself.
        let _ = self.http.send("DELETE", &format!("/session/{}", self.session), None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        if !complaints.is_empty() {
            panic!("on the console was said: {complaints:?}");
        }
    }
}

impl Element<'_> {
    /// Clicks on it.
    ///
    /// # Errors
    /// When it is not there any more, or something lies over it.
    #[track_caller]
    pub fn click(&self) -> Result {
        self.browser.call("POST", &format!("element/{}/click", self.id), &json!({})).map(drop)
    }

    /// Types into it, after what is there.
    ///
    /// # Errors
    /// When it takes no text.
    #[track_caller]
    pub fn type_text(&self, text: &str) -> Result {
        self.browser.call("POST", &format!("element/{}/value", self.id), &json!({ "text": text })).map(drop)
    }

    /// Types into it, in place of what is there.
    ///
    /// # Errors
    /// When it takes no text.
    #[track_caller]
    pub fn write_text(&self, text: &str) -> Result {
        self.browser.call("POST", &format!("element/{}/clear", self.id), &json!({}))?;
        self.type_text(text)
    }

    /// The text that can be read in it.
    ///
    /// # Errors
    /// When it is not there any more.
    #[track_caller]
    pub fn text(&self) -> Result<String> {
        let text = self.browser.call("GET", &format!("element/{}/text", self.id), &Value::Null)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// When it is not there any more.
    #[track_caller]
    pub fn attribute(&self, name: &str) -> Result<Option<String>> {
        let value = self.browser.call("GET", &format!("element/{}/attribute/{name}", self.id), &Value::Null)?;
        Ok(value.as_str().map(ToOwned::to_owned))
    }
}

/// Decodes base64 (RFC 4648), as the driver sends pictures.
fn from_base64(text: &str) -> Result<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let digit = DIGITS.iter().position(|known| *known == letter).ok_or_else(|| Failure::new("the picture is no base64"))?;
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        assert_eq!(from_base64("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(from_base64("aGVsbG8h").unwrap(), b"hello!");
        assert_eq!(from_base64("").unwrap(), b"");
        assert!(from_base64("a b").is_err());
    }
}
