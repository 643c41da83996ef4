//! The permissions of a connection, as reported by the server, and the permissions required by a worker.

use inferbus_catalog::{Route, RouteName, covers, overlap};
use serde::Deserialize;

use crate::open_inference::model_queries;
use crate::stream::names;

/// As in the server, an empty list does not limit anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permissions {
    pub publish: Lists,
    pub subscribe: Lists,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lists {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

impl Permissions {
    pub fn may_publish(&self, subject: &str) -> bool {
        let Lists { allow, deny } = &self.publish;
        let allowed = allow.is_empty() || allow.iter().any(|allowed| covers(allowed, subject));
        allowed && !deny.iter().any(|denied| overlap(denied, subject))
    }

    /// An entry with a queue group after the subject applies to that group only.
    pub fn may_subscribe(&self, subject: &str, group: Option<&str>) -> bool {
        let Lists { allow, deny } = &self.subscribe;
        let fits = |entry: &String, compare: fn(&str, &str) -> bool| match (entry.split_once(' '), group) {
            (None, _) => compare(entry, subject),
            (Some((entry, groups)), Some(group)) => compare(entry, subject) && covers(groups.trim(), group),
            (Some(_), None) => false,
        };
        let allowed = allow.is_empty() || allow.iter().any(|entry| fits(entry, covers));
        allowed && !deny.iter().any(|entry| fits(entry, overlap))
    }

    /// The missing permissions of a worker: `publish …` and `subscribe …`.
    pub fn missing_for_worker<'a>(
        &self,
        prefix: &str,
        group: &str,
        routes: impl Iterator<Item = (&'a RouteName, &'a Route)>,
    ) -> Vec<String> {
        let mut publish: Vec<String> = CATALOG.map(ToOwned::to_owned).into();
        let mut subscribe = vec![(format!("{prefix}.*"), Some(group.to_owned())), ("$SRV.>".to_owned(), None)];
        subscribe.extend(model_queries::subjects(prefix).map(|subject| (subject, Some(group.to_owned()))));
        for (name, route) in routes {
            match route.stream() {
                Some(options) => publish.extend(for_stream(name, route, options.stream.as_str())),
                None => subscribe.push((route.subject.clone(), Some(format!("{group}.{name}")))),
            }
            publish.extend(route.output_filter());
        }
        let denied = publish.into_iter().filter(|subject| !self.may_publish(subject));
        let mut missing: Vec<String> = denied.map(|subject| format!("publish {subject}")).collect();
        let denied = subscribe.into_iter().filter(|(subject, group)| !self.may_subscribe(subject, group.as_deref()));
        missing.extend(denied.map(|(subject, group)| format!("subscribe {subject} {}", group.unwrap_or_default())));
        missing.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
        missing
    }
}

const CATALOG: [&str; 10] = [
    "$JS.API.STREAM.INFO.KV_models",
    "$JS.API.STREAM.INFO.KV_routes",
    "$JS.API.STREAM.INFO.OBJ_artifacts",
    "$JS.API.STREAM.MSG.GET.KV_models",
    "$JS.API.STREAM.MSG.GET.KV_routes",
    "$JS.API.STREAM.MSG.GET.OBJ_artifacts",
    "$JS.API.CONSUMER.CREATE.KV_models",
    "$JS.API.CONSUMER.CREATE.KV_routes",
    "$JS.API.CONSUMER.MSG.NEXT.KV_models.*",
    "$JS.API.CONSUMER.MSG.NEXT.KV_routes.*",
];

fn for_stream(name: &RouteName, route: &Route, stream: &str) -> Vec<String> {
    let (consumer, results, dead) = (names::consumer(name), names::results(name, route), names::DEAD_LETTERS);
    vec![
        format!("$JS.API.STREAM.INFO.{stream}"),
        format!("$JS.API.STREAM.INFO.{results}"),
        format!("$JS.API.STREAM.INFO.{dead}"),
        format!("$JS.API.STREAM.MSG.GET.{results}"),
        format!("$JS.API.STREAM.MSG.GET.{dead}"),
        format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"),
        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
        format!("$JS.ACK.{stream}.{consumer}.>"),
        format!("$JS.API.CONSUMER.CREATE.{results}"),
        format!("$JS.API.CONSUMER.INFO.{results}.*"),
        format!("$JS.API.CONSUMER.MSG.NEXT.{results}.*"),
        format!("inferbus.dlq.{name}.*"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(allow: &[&str], deny: &[&str]) -> Lists {
        let owned = |list: &[&str]| list.iter().map(|&entry| entry.to_owned()).collect();
        Lists { allow: owned(allow), deny: owned(deny) }
    }

    #[test]
    fn empty_lists_allow_everything() {
        let missing = Permissions::default().missing_for_worker("infer", "inferbus", std::iter::empty());
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn subjects_not_allowed_or_denied_are_missing() {
        let permissions = Permissions {
            publish: lists(&["$JS.API.>"], &["$JS.API.STREAM.MSG.GET.KV_routes"]),
            subscribe: lists(&["infer.* inferbus", "infer.*.metadata inferbus"], &[]),
        };
        let missing = permissions.missing_for_worker("infer", "inferbus", std::iter::empty());
        assert_eq!(
            missing,
            ["publish $JS.API.STREAM.MSG.GET.KV_routes", "subscribe $SRV.>", "subscribe infer.*.ready inferbus"]
        );
        assert!(!permissions.may_subscribe("infer.*", None) && !permissions.may_subscribe("infer.*", Some("other")));
    }

    #[test]
    fn a_route_requires_its_objects() {
        let route = |text: &str| Route::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"));
        let name: RouteName = "cams".parse().unwrap_or_else(|fault| panic!("{fault}"));
        let stream = route(r#"{"mode":"stream","stream":"S","subject":"s.*","model":"m","output":"out.$1"}"#);
        let request = route(r#"{"subject":"ask.*","model":"m"}"#);
        let permissions =
            Permissions { publish: lists(&["$JS.API.>"], &[]), subscribe: lists(&["infer.>", "$SRV.>"], &[]) };
        let missing = |route| permissions.missing_for_worker("infer", "inferbus", [(&name, route)].into_iter());
        assert_eq!(
            missing(&stream),
            ["publish $JS.ACK.S.inferbus-cams.>", "publish inferbus.dlq.cams.*", "publish out.*"]
        );
        assert_eq!(missing(&request), ["subscribe ask.* inferbus.cams"]);
    }
}
