//! The suites, their cases, and the features that cases stand for; names as the Go server's runner has them.

/// A thing that an SDK and a server do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) suite: &'static str,
    pub(super) id: &'static str,
    pub(super) features: &'static [&'static str],
    /// Whether there is a test of it.
    pub(super) is_implemented: bool,
}

const fn case(suite: &'static str, id: &'static str, features: &'static [&'static str]) -> Case {
    Case { suite, id, features, is_implemented: false }
}

const fn core(id: &'static str, features: &'static [&'static str]) -> Case {
    Case { is_implemented: true, ..case("core", id, features) }
}

pub(super) const CASES: [Case; 12] = [
    core("basic-invoke", &["invocation", "registration", "serve-registration"]),
    core("steps-serial", &["steps"]),
    core("retry-basic", &["retry"]),
    core("cancel-basic", &["cancel"]),
    core("wait-for-event-basic", &["wait-for-event"]),
    case("negative", "malformed-payload", &["malformed-input"]),
    case("negative", "invalid-auth", &["auth-validation"]),
    case("security", "secret-redaction", &["secret-redaction", "env-nondisclosure"]),
    case("transport-serve", "serve-introspection", &["serve-introspection"]),
    case("transport-connect", "connect-ready", &["connect-readiness"]),
    case("transport-connect", "connect-reconnect", &["connect-reconnect", "connect-lease-renew"]),
    case("transport-connect", "connect-drain", &["connect-drain"]),
];

/// The cases of these suites, of these names, for these features; those that there are tests of when nothing is said.
pub(super) fn selected(suites: &[String], cases: &[String], features: &[String]) -> Result<Vec<Case>, String> {
    let known = |what: &str, name: &String, has: &dyn Fn(&Case) -> bool| {
        if CASES.iter().any(has) {
            return Ok(());
        }
        Err(format!("there is no {what} {name:?}; inngest conformance list tells which there are"))
    };
    suites.iter().try_for_each(|name| known("suite", name, &|case| case.suite == name))?;
    cases.iter().try_for_each(|name| known("case", name, &|case| case.id == name))?;
    features.iter().try_for_each(|name| known("feature", name, &|case| case.features.contains(&&**name)))?;
    let says_nothing = suites.is_empty() && cases.is_empty() && features.is_empty();
    let has = |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
    let is_selected = |case: &&Case| {
        if says_nothing {
            return case.is_implemented;
        }
        let has_feature = features.is_empty() || case.features.iter().any(|feature| has(features, feature));
        has(suites, case.suite) && has(cases, case.id) && has_feature
    };
    Ok(CASES.iter().filter(is_selected).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_selected_by_all_their_names() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ids = |suites: &[&str], cases: &[&str], features: &[&str]| {
            let found = selected(&names(suites), &names(cases), &names(features));
            found.map(|cases| cases.iter().map(|case| case.id).collect::<Vec<_>>())
        };
        assert_eq!(ids(&[], &[], &[]).unwrap().len(), 5);
        assert_eq!(ids(&["negative"], &[], &[]), Ok(vec!["malformed-payload", "invalid-auth"]));
        assert_eq!(ids(&["core"], &[], &["retry", "cancel"]), Ok(vec!["retry-basic", "cancel-basic"]));
        assert_eq!(ids(&["core"], &["connect-ready"], &[]), Ok(vec![]));
        assert!(ids(&[], &["nothing"], &[]).unwrap_err().starts_with("there is no case \"nothing\""));
    }
}
