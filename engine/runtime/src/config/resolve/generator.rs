//! `[generators.NAME]`.

use super::super::document::Value;
use super::super::fields::Fields;
use super::super::keys;
use super::super::pipeline::Generator;
use super::kafka::{Role, SharedOptions};
use super::topic;
use crate::generate::ads::{ADS_MAX, AdCampaigns};
use crate::generate::arrivals::{Arrivals, Mmpp};
use crate::generate::config::{EVENT_RATE_AT_MAX, GeneratorConfig, GeneratorKind, PRODUCERS_MAX, Pace};
use crate::generate::fixed::FixedLoad;

/// The largest of everything that is counted in 64 bits here.
const COUNT_MAX: u64 = 1_000_000_000_000;

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
    let mut load = GeneratorConfig {
        count: None,
        seed: 0,
        ..GeneratorConfig::default()
    };
    match fields.required_choice("kind", &kinds)? {
        Kind::Ads => {
            fields.only(&[keys::GENERATOR, keys::ADS]);
            load.kind = GeneratorKind::Ads(campaigns(fields));
            speed(fields, &mut load);
        }
        Kind::Fixed => {
            fields.only(&[keys::GENERATOR, keys::FIXED]);
            load.kind = GeneratorKind::Fixed(fixed(fields));
        }
        Kind::ToCome => {
            let message = "this kind of generator is to come: for now there are `ads` and `fixed`";
            fields.problems.error(&fields.span_of("kind"), message);
            return None;
        }
    }
    let target = fields.required_text("topic", "the topic to fill");
    load.producers = count(fields, "producers", PRODUCERS_MAX).unwrap_or(load.producers);
    load.seed = fields.integer("seed", 0, i64::MAX.unsigned_abs()).unwrap_or(load.seed);
    if let (Some(_), Some(count)) = (fields.node("duration"), fields.node("count")) {
        fields
            .problems
            .error(&count.span, "`count` and `duration` exclude each other");
    }
    load.count = fields.integer("count", 1, COUNT_MAX);
    load.duration = fields.positive_duration("duration");
    if load.pace == Pace::Max && fields.node("count").is_none() && fields.node("duration").is_none() {
        let message = "`rate = \"max\"` needs a `count` or a `duration` (of event time)";
        fields.problems.error(&fields.span_of("rate"), message);
    }
    let kafka = shared.merged(fields, Role::Producer);
    load.topic = topic(fields, target?);
    Some(Generator {
        name: name.to_owned(),
        load,
        kafka,
    })
}

fn campaigns(fields: &Fields<'_>) -> AdCampaigns {
    let default = AdCampaigns::default();
    let campaigns = AdCampaigns {
        campaigns: count(fields, "campaigns", ADS_MAX).unwrap_or(default.campaigns),
        ads_per_campaign: count(fields, "ads_per_campaign", ADS_MAX).unwrap_or(default.ads_per_campaign),
    };
    if campaigns.ads().is_none() {
        let key = match fields.node("ads_per_campaign") {
            Some(_) => "ads_per_campaign",
            None => "campaigns",
        };
        let message = format!(
            "{} campaigns of {} ads each are more than {ADS_MAX} ads",
            campaigns.campaigns, campaigns.ads_per_campaign
        );
        fields.problems.error(&fields.span_of(key), message);
        return default;
    }
    campaigns
}

fn fixed(fields: &Fields<'_>) -> FixedLoad {
    let default = FixedLoad::default();
    let size = fields
        .size("message_size")
        .and_then(|size| usize::try_from(size.get()).ok());
    FixedLoad {
        batch_messages: fields
            .integer("batch_messages", 1, COUNT_MAX)
            .unwrap_or(default.batch_messages),
        message_bytes: size.unwrap_or(default.message_bytes),
        interval: fields.positive_duration("interval").unwrap_or(default.interval),
    }
}

fn count(fields: &Fields<'_>, key: &str, max: usize) -> Option<usize> {
    let count = fields.integer(key, 1, max as u64)?;
    usize::try_from(count).ok()
}

/// Arrivals, rate and pace.
fn speed(fields: &Fields<'_>, load: &mut GeneratorConfig) {
    let words = [
        ("uniform", Spread::Uniform),
        ("poisson", Spread::Poisson),
        ("mmpp", Spread::Mmpp),
    ];
    let is_max = matches!(fields.node("rate").map(|node| &node.value), Some(Value::Text(text)) if text.text == "max");
    if is_max {
        (load.pace, load.rate) = (Pace::Max, EVENT_RATE_AT_MAX);
    } else if let Some(rate) = fields.positive("rate") {
        load.rate = rate;
    }
    let refuse = |keys: &[&str], message: &str| {
        for key in keys.iter().filter(|key| fields.node(key).is_some()) {
            fields
                .problems
                .error(&fields.span_of(key), format!("`{key}` {message}"));
        }
    };
    load.arrivals = match fields.choice("arrivals", &words).unwrap_or(Spread::Poisson) {
        spread @ (Spread::Uniform | Spread::Poisson) => {
            refuse(
                &["avg_rate", "rate_ratio", "q12", "q21"],
                "belongs to `arrivals = \"mmpp\"`",
            );
            match spread {
                Spread::Uniform => Arrivals::Uniform,
                _ => Arrivals::Poisson,
            }
        }
        Spread::Mmpp => {
            if fields.node("avg_rate").is_some() && !is_max {
                refuse(&["rate"], "and `avg_rate` mean the same: keep one");
            }
            load.rate = fields.positive("avg_rate").unwrap_or(load.rate);
            Arrivals::Mmpp(mmpp(fields))
        }
    };
}

fn mmpp(fields: &Fields<'_>) -> Mmpp {
    let default = Mmpp::default();
    let rate_ratio = fields.positive("rate_ratio").unwrap_or(default.rate_ratio);
    if rate_ratio < 1.0 {
        fields
            .problems
            .error(&fields.span_of("rate_ratio"), "`rate_ratio` is at least 1");
    }
    Mmpp {
        rate_ratio,
        q12: fields.positive("q12").unwrap_or(default.q12),
        q21: fields.positive("q21").unwrap_or(default.q21),
    }
}
