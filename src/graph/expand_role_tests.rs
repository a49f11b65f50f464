//! Tests of what a recipe says by role: several roles, groups and services of a role, a first host, checks. Knows no
//! embedded recipe.

use super::Target;
use super::expand_tests::{drawn, graph, stack, try_expand};

const CLUSTER: &str = r#"
summary  = "Servers and others"
role     = ["server", "agent"]
provides = [{ service = "api", role = "server" }, "nodes"]
[settings]
ha  = { type = "bool", default = false }
vip = { type = "string", default = "" }
[pools]
join = 1
[steps.secret]
uses = "join"
on   = "group:server"
with = { token = "${x}" }
[steps.server]
uses = "file"
on   = "hosts:server"
lead = true
pool = "join"
with = { path = "/server", content = "{{ steps.secret.token }}" }
[steps.agent]
uses  = "file"
on    = "hosts"
when  = "{{ 'server' not in host.roles }}"
with  = { path = "/agent" }
needs = ["server@*"]
[steps.api]
uses  = "file"
on    = "service:api"
with  = { path = "/api", names = "{{ hosts | map(attribute='name') | list }}" }
needs = ["server@*"]
[checks.odd]
when    = "{{ settings.ha and (hosts | length) is divisibleby 2 }}"
warn    = "{{ hosts | length }} servers outvote no more than {{ (hosts | length) - 1 }}"
help    = "an odd number"
setting = "ha"
[checks.vip]
when   = "{{ settings.vip != '' and settings.vip == stack.vip }}"
refuse = "both are {{ settings.vip }}"
"#;

fn recipes() -> Vec<(&'static str, String)> {
    vec![(
        "recipes/cluster/recipe.toml",
        CLUSTER.replace("\"${x}\"", "\"{{ settings.vip }}\""),
    )]
}

fn made(hosts: &[(&str, &str)], components: &str) -> super::Graph {
    let recipes = recipes();
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(p, t)| (*p, t.as_str())).collect();
    graph(&recipes, &stack(hosts, components))
}

#[test]
fn steps_groups_and_services_of_a_role() {
    let graph = made(
        &[
            ("s1", "server"),
            ("a1", "agent"),
            ("s2", "server"),
            ("x", "other"),
            ("s3", "server"),
        ],
        "  cluster: {}\n",
    );
    insta::assert_snapshot!(drawn(&graph), @r#"
    group cluster:secret
    cluster:server@s1 < cluster:secret ! cluster:secret
    cluster:server@s2 < cluster:secret cluster:server@s1 ! cluster:secret
    cluster:server@s3 < cluster:secret cluster:server@s1 ! cluster:secret
    cluster:agent@a1 < cluster:server@s1 cluster:server@s2 cluster:server@s3
    service cluster:api < cluster:server@s1 cluster:server@s2 cluster:server@s3
    "#);
    let hosts = |label: &str| {
        let step = graph
            .steps
            .iter()
            .find(|step| step.label.to_string() == label);
        match &step.unwrap().target {
            Target::Group(hosts) | Target::Service(_, hosts) => {
                hosts.iter().map(|host| host.0).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hosts("cluster:secret"), [0, 2, 4]);
    assert_eq!(hosts("cluster:api"), [0, 2, 4]);
}

#[test]
fn a_group_of_nobody_has_no_step() {
    let graph = made(&[("a1", "agent")], "  cluster: {}\n");
    insta::assert_snapshot!(drawn(&graph), @r#"
    cluster:agent@a1
    service cluster:api
    "#);
}

#[test]
fn checks_warn_with_a_place_or_refuse() {
    let graph = made(
        &[("s1", "server"), ("s2", "server")],
        "  cluster: { ha: true }\n",
    );
    let [warning] = graph.warnings.as_slice() else {
        panic!("{:?}", graph.warnings);
    };
    assert_eq!(warning.message, "2 servers outvote no more than 1");
    assert_eq!(warning.help.as_deref(), Some("an odd number"));
    assert!(warning.span.is_some());

    let recipes = recipes();
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(p, t)| (*p, t.as_str())).collect();
    let text = stack(&[("s1", "server")], "  cluster: { vip: 10.0.0.1 }\n")
        .replace("  name: lab\n", "  name: lab\n  vip: 10.0.0.1\n");
    let problems = try_expand(&recipes, &text).unwrap_err();
    insta::assert_snapshot!(problems.to_string(), @"stack.yaml:9:3: both are 10.0.0.1");
}

#[test]
fn what_a_recipe_says_wrongly_of_roles_and_checks() {
    let recipe = r#"
summary  = "x"
role     = "x"
provides = ["a", { service = "b" }, { role = "c" }, 3]
[checks.none]
when = "{{ true }}"
[checks.both]
when   = "{{ true }}"
warn   = "w"
refuse = "r"
[checks.text]
when = "{{ 'yes' }}"
warn = "w"
"#;
    let text = stack(&[("s1", "x")], "  x: {}\n");
    let problems = try_expand(&[("recipes/x/recipe.toml", recipe)], &text).unwrap_err();
    insta::assert_snapshot!(problems.to_string(), @r#"
    recipes/x/recipe.toml:4:37: a service in `provides` has no `service`
    recipes/x/recipe.toml:4:53: a service in `provides` must be a table
    recipes/x/recipe.toml:5:9: check `none` wants either `refuse` or `warn`, the words to say
    recipes/x/recipe.toml:7:9: check `both` wants either `refuse` or `warn`, the words to say
    "#);
    let recipe =
        "summary = \"x\"\nrole = \"x\"\n[checks.text]\nwhen = \"{{ 'yes' }}\"\nwarn = \"w\"\n";
    let problems = try_expand(&[("recipes/x/recipe.toml", recipe)], &text).unwrap_err();
    insta::assert_snapshot!(problems.to_string(), @"recipes/x/recipe.toml:4:8: `when` of check `text`: it must give true or false, not string");
}
