//! Numbers as people read them, in every room's messages.

/// 1234567 as 1,234,567.
pub fn grouped(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if n < 0 { format!("-{text}") } else { text }
}

/// 1 object, 1,200 objects.
pub fn plural(n: u64, word: &str) -> String {
    format!("{} {word}{}", grouped(n as i64), if n == 1 { "" } else { "s" })
}
