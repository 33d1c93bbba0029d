//! Where records begin and end, and where to go on after a broken one.
//!
//! Takes bytes; gives offsets. It forgives everything: it is asked about text that is not JSON.

/// The offset after the value that begins at `start`, by its brackets, strings and comments alone;
/// `None` when it does not end within `bytes`.
pub fn balanced_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut i = start;
    while i < bytes.len() {
        match bytes[i] {
            b'"' => i = string_end(bytes, i + 1)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                i = memchr::memchr(b'\n', &bytes[i..])? + i;
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                i = memchr::memmem::find(&bytes[i + 2..], b"*/")? + i + 3;
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// The offset of the quote that ends the string whose first byte is at `from`.
fn string_end(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = memchr::memchr2(b'"', b'\\', bytes.get(from..)?)? + from;
        if bytes[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

/// The offset of the next line after `fault` that begins, behind the same indentation, with the same
/// bracket as the record at `start`; `None` when the record does not begin its line.
pub fn next_sibling(bytes: &[u8], start: usize, fault: usize) -> Option<usize> {
    let line = memchr::memrchr(b'\n', &bytes[..start]).map_or(0, |n| n + 1);
    let indent = &bytes[line..start];
    if !indent.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) || bytes.get(start) != Some(&b'{') {
        return None;
    }
    let mut at = fault.max(start + 1).saturating_sub(1);
    while let Some(newline) = memchr::memchr(b'\n', bytes.get(at..)?) {
        let begin = at + newline + 1;
        let rest = &bytes[begin..];
        if rest.starts_with(indent) && rest.get(indent.len()) == Some(&b'{') {
            return Some(begin + indent.len());
        }
        at = begin;
    }
    None
}

/// Whether the input looks like NDJSON: its first line is one value to the end, and more follows.
/// `head` is the beginning of the input; `whole` says that it is all of it.
pub fn looks_like_ndjson(head: &[u8], whole: bool) -> bool {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let Some(first) = head.iter().position(|b| !blank(b)) else { return false };
    if head[first] != b'{' {
        return false;
    }
    let Some(newline) = memchr::memchr(b'\n', &head[first..]) else { return false };
    let line = &head[first..first + newline];
    let one_value =
        balanced_end(line, 0).is_some_and(|end| line[end..].iter().all(blank));
    one_value && (!whole || head[first + newline..].iter().any(|b| !blank(b)))
}
