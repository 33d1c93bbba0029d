//! The report of a reconciliation as one HTML file: page, style, program and data, and nothing from a network.
//!
//! The page (`page/`) is the same for every report. It reads the JSON of [`Reconciled`] that stands in it, and makes
//! every number, chart and list of that. Its policy (CSP) lets no request out and runs no script but its own.

use crate::model::Reconciled;
use sha2::{Digest, Sha256};

const TEMPLATE: &str = include_str!("page/template.html");
const STYLE: &str = include_str!("page/style.css");
const PROGRAM: &str = include_str!("page/app.js");

/// The whole page, UTF-8. The same `reconciled` gives the same bytes.
pub fn html(reconciled: &Reconciled) -> Result<String, serde_json::Error> {
    let data = in_script(&serde_json::to_string(reconciled)?);
    let policy = format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{}'; script-src '{}'",
        digest(STYLE),
        digest(PROGRAM)
    );
    let filled = [("policy", &*policy), ("style", STYLE), ("data", &*data), ("program", PROGRAM)];
    let mut page = String::with_capacity(TEMPLATE.len() + STYLE.len() + PROGRAM.len() + data.len());
    // In the order in which they stand, so that nothing is looked for in what was filled in.
    let mut rest = TEMPLATE;
    for (name, text) in filled {
        let mark = format!("{{{{{name}}}}}");
        let (before, after) = rest.split_once(&mark).expect("the marks of the template, in order");
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// JSON in which no HTML parser sees an end of the script, and no JavaScript an end of a line. All of these stand in
/// strings only, where JSON has escapes for them.
fn in_script(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text
}

/// As a policy names an inline script: `sha256-` and base64.
fn digest(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut base64 = String::from("sha256-");
    for group in Sha256::digest(text.as_bytes()).chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | group.get(i).map_or(0, |b| u32::from(*b)));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            base64.push(if i <= group.len() { char::from(digit) } else { '=' });
        }
    }
    base64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | openssl dgst -sha256 -binary | base64`
    #[test]
    fn digests_are_as_openssl_writes_them() {
        assert_eq!(digest("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn data_cannot_end_the_script() {
        let hostile = "</script><script>alert(1)</script><!--&\u{2028}\u{2029}{{program}}";
        let reconciled = Reconciled { pipeline: hostile.to_owned(), ..Reconciled::default() };
        let page = html(&reconciled).unwrap();
        assert!(!page.contains("<script>alert"));
        assert!(!page.contains('\u{2028}') && !page.contains('\u{2029}'));
        let (_, after) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
        let (json, _) = after.split_once("</script>").unwrap();
        let read: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(read["pipeline"], hostile);
    }

    /// No address is in the page that a browser would ask, and no script or style but what the policy names.
    #[test]
    fn nothing_comes_from_elsewhere() {
        let page = html(&Reconciled::default()).unwrap();
        for word in
            ["src=", "href=\"http", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML"]
        {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<script").count(), 2);
        assert!(page.contains("default-src 'none'"));
    }
}
