//! Ad events as JSON, written by hand into the caller's buffer.
//!
//! ```json
//! {"user_id":"…","page_id":"…","ad_id":"…","ad_type":"video","event_type":"view","event_time_ns":1767312000000000000,
//!  "window_id":176731200,"ip_address":"10.2.3.4","campaign_id":7,"produce_time":1767312000000}
//! ```
//!
//! `window_id` is the index of the event's ten-second window, `event_time_ns` divided by 10 s, rounded down;
//! `produce_time` is the event's intended time in milliseconds. Users, pages and ads are UUIDs from fixed populations
//! that depend on the seed alone, so that all producers of a run share them, and each ad belongs to one campaign.

use std::sync::Arc;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The most ads of all campaigns together: each takes about 40 bytes for the whole run.
pub const ADS_MAX: usize = 1_000_000;
/// The length of the windows that `window_id` counts.
pub const WINDOW_NS: i64 = 10_000_000_000;
/// The longest event in bytes, for buffers.
pub const AD_EVENT_BYTES_MAX: usize = 384;

const USERS: usize = 10_000;
const PAGES: usize = 1_000;
const AD_TYPES: [&str; 7] = ["image", "video", "carousel", "text", "story", "shopping", "collection"];
const EVENT_TYPES: [&str; 3] = ["view", "click", "purchase"];

type UuidText = [u8; 36];

/// Which field of an event becomes the record's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyField {
    /// No key: records are spread over the partitions.
    #[default]
    None,
    /// `user_id`.
    User,
    /// `ad_id`.
    Ad,
    /// `campaign_id`, as decimal text.
    Campaign,
}

/// How many campaigns there are, numbered from 0, and how many ads each of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdCampaigns {
    /// Campaigns, at least 1.
    pub campaigns: usize,
    /// Ads of each campaign, at least 1.
    pub ads_per_campaign: usize,
}

impl Default for AdCampaigns {
    fn default() -> AdCampaigns {
        AdCampaigns {
            campaigns: 10,
            ads_per_campaign: 100,
        }
    }
}

impl AdCampaigns {
    /// All ads; `None` if that is none, or more than [`ADS_MAX`].
    pub fn ads(self) -> Option<usize> {
        let ads = self.campaigns.checked_mul(self.ads_per_campaign)?;
        (1..=ADS_MAX).contains(&ads).then_some(ads)
    }
}

/// Users, pages and ads, and which campaign each ad belongs to: what all producers of a run share.
#[derive(Debug)]
pub struct AdPopulation {
    users: Vec<UuidText>,
    pages: Vec<UuidText>,
    ads: Vec<UuidText>,
    campaign_of: Vec<u32>,
}

impl AdPopulation {
    /// The same seed gives the same population.
    ///
    /// # Panics
    /// If there are no ads, or too many; see [`AdCampaigns::ads`].
    pub fn new(seed: u64, campaigns: AdCampaigns) -> AdPopulation {
        let ads = campaigns.ads().expect("the number of ads was checked");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut uuids = |count: usize| (0..count).map(|_| uuid_text(&mut random)).collect::<Vec<_>>();
        let (users, pages, ads) = (uuids(USERS), uuids(PAGES), uuids(ads));
        // As many tickets per campaign as it has ads, shuffled (Fisher and Yates).
        let mut campaign_of: Vec<u32> = (0..ads.len())
            .map(|ad| u32::try_from(ad / campaigns.ads_per_campaign).expect("there are at most a million ads"))
            .collect();
        for last in (1..ads.len()).rev() {
            campaign_of.swap(last, random.random_range(0..=last));
        }
        AdPopulation {
            users,
            pages,
            ads,
            campaign_of,
        }
    }
}

/// One producer's ad events. All choices are uniform.
#[derive(Debug, Clone)]
pub struct AdEvents {
    population: Arc<AdPopulation>,
    octets: Vec<Octet>,
    rng: ChaCha8Rng,
    key: KeyField,
}

#[derive(Debug, Clone, Copy)]
struct Octet {
    text: [u8; 3],
    length: u8,
}

impl AdEvents {
    /// `rng` decides the choices of this producer.
    pub fn new(population: Arc<AdPopulation>, key: KeyField, rng: ChaCha8Rng) -> AdEvents {
        AdEvents {
            population,
            octets: (0..=u8::MAX).map(Octet::new).collect(),
            rng,
            key,
        }
    }

    /// Appends one event with this time to `value` and its key, if there is one, to `key`.
    pub fn write(&mut self, event_time_ns: i64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        let (first, second, third) = (self.rng.next_u64(), self.rng.next_u64(), self.rng.next_u64());
        let AdPopulation {
            users,
            pages,
            ads,
            campaign_of,
        } = &*self.population;
        let user = &users[pick(first as u32, users.len())];
        let page = &pages[pick((first >> 32) as u32, pages.len())];
        let ad_number = pick(second as u32, ads.len());
        let ad = &ads[ad_number];
        let ad_type = AD_TYPES[pick((second >> 32) as u32, AD_TYPES.len())];
        let event_type = EVENT_TYPES[pick(third as u32, EVENT_TYPES.len())];
        let address = (third >> 32) as u32;
        let campaign = i64::from(campaign_of[ad_number]);

        match self.key {
            KeyField::None => {}
            KeyField::User => key.extend_from_slice(user),
            KeyField::Ad => key.extend_from_slice(ad),
            KeyField::Campaign => push_decimal(key, campaign),
        }

        value.reserve(AD_EVENT_BYTES_MAX);
        value.extend_from_slice(b"{\"user_id\":\"");
        value.extend_from_slice(user);
        value.extend_from_slice(b"\",\"page_id\":\"");
        value.extend_from_slice(page);
        value.extend_from_slice(b"\",\"ad_id\":\"");
        value.extend_from_slice(ad);
        value.extend_from_slice(b"\",\"ad_type\":\"");
        value.extend_from_slice(ad_type.as_bytes());
        value.extend_from_slice(b"\",\"event_type\":\"");
        value.extend_from_slice(event_type.as_bytes());
        value.extend_from_slice(b"\",\"event_time_ns\":");
        push_decimal(value, event_time_ns);
        value.extend_from_slice(b",\"window_id\":");
        push_decimal(value, event_time_ns.div_euclid(WINDOW_NS));
        value.extend_from_slice(b",\"ip_address\":\"");
        for (index, byte) in address.to_be_bytes().into_iter().enumerate() {
            if index > 0 {
                value.push(b'.');
            }
            let octet = &self.octets[usize::from(byte)];
            value.extend_from_slice(&octet.text[..usize::from(octet.length)]);
        }
        value.extend_from_slice(b"\",\"campaign_id\":");
        push_decimal(value, campaign);
        value.extend_from_slice(b",\"produce_time\":");
        push_decimal(value, event_time_ns.div_euclid(1_000_000));
        value.push(b'}');
    }
}

impl Octet {
    fn new(value: u8) -> Octet {
        let mut text = [0; 3];
        let digits = value.to_string();
        text[..digits.len()].copy_from_slice(digits.as_bytes());
        Octet {
            text,
            length: digits.len() as u8,
        }
    }
}

/// A number below `count` from 32 random bits (Lemire's multiplication; the bias is below `count` / 2^32).
fn pick(random: u32, count: usize) -> usize {
    ((u64::from(random) * count as u64) >> 32) as usize
}

fn uuid_text(rng: &mut ChaCha8Rng) -> UuidText {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    let mut text = [0; 36];
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .hyphenated()
        .encode_lower(&mut text);
    text
}

/// Appends a number without allocating and without the formatting machinery.
fn push_decimal(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0; 20];
    let mut position = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        position -= 1;
        digits[position] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        position -= 1;
        digits[position] = b'-';
    }
    out.extend_from_slice(&digits[position..]);
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde_json::Value;

    use super::*;

    fn events(seed: u64, producer: u64) -> AdEvents {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(producer);
        let population = AdPopulation::new(seed, AdCampaigns::default());
        AdEvents::new(Arc::new(population), KeyField::Ad, rng)
    }

    fn parsed(events: &mut AdEvents, event_time_ns: i64) -> (String, Value) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        events.write(event_time_ns, &mut key, &mut value);
        assert!(value.len() <= AD_EVENT_BYTES_MAX);
        (String::from_utf8(key).unwrap(), serde_json::from_slice(&value).unwrap())
    }

    #[test]
    fn an_event_has_exactly_the_documented_fields() {
        let (key, event) = parsed(&mut events(7, 0), 1_767_312_009_999_999_999);
        let fields = event.as_object().unwrap();
        let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "ad_id",
                "ad_type",
                "campaign_id",
                "event_time_ns",
                "event_type",
                "ip_address",
                "page_id",
                "produce_time",
                "user_id",
                "window_id"
            ]
        );
        for name in ["user_id", "page_id", "ad_id"] {
            let uuid = uuid::Uuid::parse_str(event[name].as_str().unwrap()).unwrap();
            assert_eq!(uuid.get_version_num(), 4);
        }
        assert_eq!(key, event["ad_id"].as_str().unwrap());
        assert_eq!(event["event_time_ns"], 1_767_312_009_999_999_999i64);
        assert_eq!(event["window_id"], 176_731_200);
        assert_eq!(event["produce_time"], 1_767_312_009_999i64);
        event["ip_address"]
            .as_str()
            .unwrap()
            .parse::<std::net::Ipv4Addr>()
            .unwrap();
    }

    #[test]
    fn times_before_1970_round_down() {
        let (_, event) = parsed(&mut events(7, 0), -1);
        assert_eq!(
            (&event["window_id"], &event["produce_time"]),
            (&Value::from(-1), &Value::from(-1))
        );
        let (_, event) = parsed(&mut events(7, 0), i64::MIN);
        assert_eq!(event["event_time_ns"], i64::MIN);
    }

    #[test]
    fn ten_campaigns_have_a_hundred_ads_each_and_every_choice_is_uniform() {
        let mut events = events(7, 0);
        let total = 60_000;
        let mut campaign_of: HashMap<String, i64> = HashMap::new();
        let mut counts: HashMap<String, f64> = HashMap::new();
        for _ in 0..total {
            let (_, event) = parsed(&mut events, 0);
            let campaign = event["campaign_id"].as_i64().unwrap();
            let known = campaign_of
                .entry(event["ad_id"].as_str().unwrap().to_owned())
                .or_insert(campaign);
            assert_eq!(*known, campaign, "an ad belongs to one campaign");
            for name in ["ad_type", "event_type", "campaign_id"] {
                *counts.entry(format!("{name}={}", event[name])).or_default() += 1.0;
            }
        }
        assert_eq!(campaign_of.len(), 1_000);
        for campaign in 0..10 {
            assert_eq!(campaign_of.values().filter(|found| **found == campaign).count(), 100);
        }
        assert_eq!(counts.len(), 7 + 3 + 10);
        for (choice, count) in counts {
            let share = if choice.starts_with("ad_type") {
                1.0 / 7.0
            } else if choice.starts_with("event_type") {
                1.0 / 3.0
            } else {
                0.1
            };
            let deviation = (count - total as f64 * share) / (total as f64 * share * (1.0 - share)).sqrt();
            assert!(deviation.abs() < 4.5, "{choice}: {count}");
        }
    }

    #[test]
    fn producers_share_the_ads_but_not_the_events() {
        let (mut first, mut second, mut again) = (events(7, 0), events(7, 1), events(7, 0));
        assert_eq!(first.population.ads, second.population.ads);
        assert_eq!(first.population.campaign_of, second.population.campaign_of);
        let (mut seen, mut others) = (HashSet::new(), HashSet::new());
        for time in 0..100 {
            let event = parsed(&mut first, time);
            assert_eq!(event, parsed(&mut again, time));
            seen.insert(event.1.to_string());
            others.insert(parsed(&mut second, time).1.to_string());
        }
        assert!(seen.is_disjoint(&others));
    }

    #[test]
    fn as_many_campaigns_and_ads_as_were_asked_for_are_drawn() {
        let campaigns = AdCampaigns {
            campaigns: 12,
            ads_per_campaign: 3,
        };
        let population = Arc::new(AdPopulation::new(7, campaigns));
        let mut events = AdEvents::new(population, KeyField::Campaign, ChaCha8Rng::seed_from_u64(1));
        let mut ads: HashMap<i64, HashSet<String>> = HashMap::new();
        for _ in 0..2_000 {
            let (key, event) = parsed(&mut events, 0);
            let campaign = event["campaign_id"].as_i64().unwrap();
            assert_eq!(key, campaign.to_string());
            let ad = event["ad_id"].as_str().unwrap().to_owned();
            ads.entry(campaign).or_default().insert(ad);
        }
        let mut found: Vec<_> = ads.keys().copied().collect();
        found.sort_unstable();
        assert_eq!(found, (0..12).collect::<Vec<_>>());
        assert!(ads.values().all(|ads| ads.len() == 3));
    }

    #[test]
    fn no_ads_and_too_many_are_refused() {
        let ads = |campaigns, ads_per_campaign| {
            let campaigns = AdCampaigns {
                campaigns,
                ads_per_campaign,
            };
            campaigns.ads()
        };
        assert_eq!(ads(10, 100), Some(1_000));
        assert_eq!((ads(0, 100), ads(10, 0)), (None, None));
        assert_eq!((ads(1_000, 1_000), ads(1_001, 1_000)), (Some(ADS_MAX), None));
        assert_eq!(ads(usize::MAX, 2), None);
    }

    #[test]
    fn decimals_are_right_at_the_edges() {
        for value in [0, 9, 10, -1, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            push_decimal(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
