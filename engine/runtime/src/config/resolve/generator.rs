//! `[generators.NAME]`.

use std::num::{NonZeroU64, NonZeroUsize};

use super::super::document::Value;
use super::super::fields::Fields;
use super::super::keys;
use super::super::pipeline::{Arrivals, Generator, GeneratorExtent, GeneratorKind, Rate};
use super::kafka::{Role, SharedOptions};
use super::topic;

/// 20,000 events of each of two producers in 60 seconds.
const RATE: f64 = 2.0 * 20_000.0 / 60.0;
const PRODUCERS: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const CAMPAIGNS: NonZeroUsize = NonZeroUsize::new(10).unwrap();
const ADS_PER_CAMPAIGN: NonZeroUsize = NonZeroUsize::new(100).unwrap();
const MESSAGE_BYTES: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
const RATE_RATIO: f64 = 5.0;
const SWITCHES: f64 = 0.5;

#[derive(Clone, Copy)]
enum Kind {
    Ads,
    Fixed,
    ToCome,
}

#[derive(Clone, Copy)]
enum Spread {
    Uniform,
    Poisson,
    Mmpp,
}

/// Resolves one generator.
pub(crate) fn resolve(name: &str, fields: &Fields<'_>, shared: &SharedOptions) -> Option<Generator> {
    let kinds = [
        ("ads", Kind::Ads),
        ("fixed", Kind::Fixed),
        ("clickstream", Kind::ToCome),
        ("iot", Kind::ToCome),
    ];
    let count = |key: &str, max, default| {
        fields
            .integer(key, 1, max)
            .and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?))
            .unwrap_or(default)
    };
    let kind = match fields.required_choice("kind", &kinds)? {
        Kind::Ads => {
            fields.only(keys::ADS);
            GeneratorKind::Ads {
                campaigns: count("campaigns", 1_000_000, CAMPAIGNS),
                ads_per_campaign: count("ads_per_campaign", 1_000_000, ADS_PER_CAMPAIGN),
            }
        }
        Kind::Fixed => {
            fields.only(keys::FIXED);
            let size = fields
                .size("message_size")
                .and_then(|size| NonZeroUsize::try_from(size).ok());
            GeneratorKind::Fixed {
                message_bytes: size.unwrap_or(MESSAGE_BYTES),
            }
        }
        Kind::ToCome => {
            let message = "this kind of generator is to come: for now there are `ads` and `fixed`";
            fields.problems.error(&fields.span_of("kind"), message);
            return None;
        }
    };
    let target = fields.required_text("topic", "the topic to fill");
    Some(Generator {
        name: name.to_owned(),
        kind,
        arrivals: arrivals(fields),
        producers: count("producers", 1_000, PRODUCERS),
        extent: extent(fields),
        seed: fields.integer("seed", 0, i64::MAX.unsigned_abs()).unwrap_or(0),
        kafka: shared.merged(fields, Role::Producer),
        topic: topic(fields, target?),
    })
}

fn arrivals(fields: &Fields<'_>) -> Arrivals {
    let words = [
        ("uniform", Spread::Uniform),
        ("poisson", Spread::Poisson),
        ("mmpp", Spread::Mmpp),
    ];
    let spread = fields.choice("arrivals", &words).unwrap_or(Spread::Poisson);
    let is_max = matches!(fields.node("rate").map(|node| &node.value), Some(Value::Text(text)) if text.text == "max");
    let rate = if is_max {
        Rate::Max
    } else {
        Rate::PerSecond(fields.positive("rate").unwrap_or(RATE))
    };
    let refuse = |keys: &[&str], message: &str| {
        for key in keys.iter().filter(|key| fields.node(key).is_some()) {
            fields
                .problems
                .error(&fields.span_of(key), format!("`{key}` {message}"));
        }
    };
    match spread {
        Spread::Uniform | Spread::Poisson => {
            refuse(
                &["avg_rate", "rate_ratio", "q12", "q21"],
                "belongs to `arrivals = \"mmpp\"`",
            );
        }
        Spread::Mmpp if fields.node("avg_rate").is_some() => {
            refuse(&["rate"], "and `avg_rate` mean the same: keep one");
        }
        Spread::Mmpp if is_max => refuse(&["rate"], "cannot be \"max\" with `arrivals = \"mmpp\"`"),
        Spread::Mmpp => {}
    }
    match spread {
        Spread::Uniform => Arrivals::Uniform { rate },
        Spread::Poisson => Arrivals::Poisson { rate },
        Spread::Mmpp => {
            let from_rate = if let Rate::PerSecond(rate) = rate { rate } else { RATE };
            let rate_ratio = fields.positive("rate_ratio").unwrap_or(RATE_RATIO);
            if rate_ratio < 1.0 {
                fields
                    .problems
                    .error(&fields.span_of("rate_ratio"), "`rate_ratio` is at least 1");
            }
            Arrivals::Mmpp {
                average_rate: fields.positive("avg_rate").unwrap_or(from_rate),
                rate_ratio,
                q12: fields.positive("q12").unwrap_or(SWITCHES),
                q21: fields.positive("q21").unwrap_or(SWITCHES),
            }
        }
    }
}

fn extent(fields: &Fields<'_>) -> GeneratorExtent {
    if let (Some(_), Some(count)) = (fields.node("duration"), fields.node("count")) {
        fields
            .problems
            .error(&count.span, "`count` and `duration` exclude each other");
    }
    let count = fields
        .integer("count", 1, 1_000_000_000_000)
        .and_then(NonZeroU64::new)
        .map(GeneratorExtent::Count);
    count
        .or_else(|| fields.positive_duration("duration").map(GeneratorExtent::Duration))
        .unwrap_or(GeneratorExtent::Unbounded)
}
