//! What an expression that cancels runs may use.

use super::parse::{Kind, Macro, Node};

/// An expression uses what it may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("validation failed: {} error{} occurred:\n{}\n\n", .problems.len(), if .problems.len() == 1 { "" } else { "s" }, listed(.problems))]
pub struct PolicyError {
    problems: Vec<String>,
}

fn listed(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\t* {problem}")).collect::<Vec<_>>().join("\n")
}

const ALLOWED: [&str; 12] =
    ["!_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_[_]", "@in", "int", "uint", "double"];

pub(super) fn check(root: &Node) -> Result<(), PolicyError> {
    let mut problems = Vec::new();
    visit(root, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(PolicyError { problems }) }
}

/// Items of lists and maps, and what methods are called on, are not looked at.
fn visit(node: &Node, problems: &mut Vec<String>) {
    match &*node.kind {
        Kind::Literal(_) | Kind::Chain { .. } | Kind::List(_) | Kind::Map(_) => {}
        Kind::Select(operand, _) => visit(operand, problems),
        Kind::Has(..) => problems.push("macros are disallowed (uses 'has')".to_owned()),
        Kind::And(_) | Kind::Or(_) | Kind::Choice(..) => node.kind.parts().for_each(|part| visit(part, problems)),
        Kind::Call { name, method, args } => {
            if *method || !ALLOWED.contains(&name.as_str()) {
                problems.push(format!("function calls are disallowed (uses '{name}')"));
            }
            args.iter().skip(usize::from(*method)).for_each(|arg| visit(arg, problems));
        }
        Kind::Macro { kind, .. } => {
            let name = match kind {
                Macro::All => "all",
                Macro::Exists => "exists",
                Macro::ExistsOne => "exists_one",
                Macro::Map => "map",
                Macro::Filter => "filter",
            };
            problems.push(format!("macros are disallowed (contains '{name}')"));
        }
    }
}
