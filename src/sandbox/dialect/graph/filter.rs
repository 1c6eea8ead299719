//! The filters that contacts can be found by
//! (<https://learn.microsoft.com/en-us/graph/filter-query-parameter>): `displayName eq 'A'`,
//! and `emailAddresses/any(a:a/address eq 'a@x.io')`.

use serde_json::{Map, Value as Json};

/// One condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// A text is this one.
    Is { field: String, value: String },
    /// One of the mail addresses is this one.
    Address { value: String },
}

pub(super) fn parse(text: &str) -> Result<Filter, String> {
    let wrong = || format!("Invalid filter clause: {text}");
    let text = text.trim();
    if let Some(inner) = text.strip_prefix("emailAddresses/any(").and_then(|rest| rest.strip_suffix(')')) {
        let (name, condition) = inner.split_once(':').ok_or_else(wrong)?;
        let (path, value) = condition.split_once(" eq ").ok_or_else(wrong)?;
        if path.trim() != format!("{}/address", name.trim()) {
            return Err(wrong());
        }
        return Ok(Filter::Address { value: quoted(value).ok_or_else(wrong)? });
    }
    let (field, value) = text.split_once(" eq ").ok_or_else(wrong)?;
    if !super::TEXTS.contains(&field.trim()) {
        return Err(wrong());
    }
    Ok(Filter::Is { field: field.trim().to_owned(), value: quoted(value).ok_or_else(wrong)? })
}

/// A text in single quotes, with those within doubled.
fn quoted(text: &str) -> Option<String> {
    let inner = text.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    let plain = inner.replace("''", "\0");
    (!plain.contains('\'')).then(|| plain.replace('\0', "'"))
}

impl Filter {
    /// Whether a contact is one of those; letters are the same in either case.
    pub(super) fn holds(&self, fields: &Map<String, Json>) -> bool {
        let same =
            |own: &Json, wanted: &str| own.as_str().is_some_and(|own| own.to_lowercase() == wanted.to_lowercase());
        match self {
            Filter::Is { field, value } => fields.get(field).is_some_and(|own| same(own, value)),
            Filter::Address { value } => {
                let list = fields.get("emailAddresses").and_then(Json::as_array);
                list.is_some_and(|list| list.iter().any(|one| one.get("address").is_some_and(|own| same(own, value))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_understood_or_refused() {
        let is = |field: &str, value: &str| Filter::Is { field: field.to_owned(), value: value.to_owned() };
        assert_eq!(parse("displayName eq 'O''Brien'"), Ok(is("displayName", "O'Brien")));
        assert_eq!(parse(" mobilePhone eq '' "), Ok(is("mobilePhone", "")));
        let address = Filter::Address { value: "a@x.io".to_owned() };
        assert_eq!(parse("emailAddresses/any(a:a/address eq 'a@x.io')"), Ok(address));
        for text in [
            "displayName eq Ada",
            "displayName eq 'O'Brien'",
            "displayName ne 'A'",
            "nick eq 'A'",
            "emailAddresses/any(a:b/address eq 'a@x.io')",
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
