//! Time zones by name.

use chrono_tz::Tz;

use super::document::nearest;

/// The zone of an IANA name, such as `Europe/Zurich`.
///
/// # Errors
/// With the nearest known name, if one is near.
pub fn parse_zone(name: &str) -> Result<Tz, Option<&'static str>> {
    name.parse().map_err(|_| nearest(name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_told_with_its_neighbour() {
        assert_eq!(parse_zone("Europe/Zurich"), Ok(Tz::Europe__Zurich));
        assert_eq!(parse_zone("Europe/Berln"), Err(Some("Europe/Berlin")));
        assert_eq!(parse_zone("nowhere at all"), Err(None));
    }
}
