//! The questions of `foundry config init`. Does not know how a config is written.

use crate::terminal::shown;
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Input, MultiSelect};

use super::config::Answers;
use super::home::HomeError;
use super::prompt::asked;
use crate::config::{ComponentSchema, NewHost};

/// Asks for what no flag has given.
pub(super) fn ask(mut answers: Answers, known: &[ComponentSchema]) -> Result<Answers, HomeError> {
    let theme = ColorfulTheme::default();
    if answers.cluster_name.is_none() {
        let suggestion = answers.name.clone().unwrap_or_else(|| "stack".to_owned());
        answers.cluster_name = Some(text(&theme, "Name of the stack", Some(suggestion))?);
    }
    if answers.name.is_none() {
        let suggestion = answers.cluster_name.clone();
        answers.name = Some(text(&theme, "Name of the config file", suggestion)?);
    }
    if answers.domain.is_none() {
        let domain = text(&theme, "Domain (empty for none)", None)?;
        answers.domain = (!domain.is_empty()).then_some(domain);
    }
    if answers.hosts.is_empty() {
        answers.hosts = hosts(&theme)?;
    }
    if answers.user.is_none() {
        let user = text(&theme, "SSH user (empty: as ~/.ssh/config says)", None)?;
        answers.user = (!user.is_empty()).then_some(user);
    }
    // What every stack has anyway is no question.
    let known: Vec<&ComponentSchema> = known.iter().filter(|component| !component.always).collect();
    if answers.components.is_empty() && !known.is_empty() {
        let items: Vec<String> = known
            .iter()
            .map(|component| asked(&format!("{}: {}", component.name, component.doc)))
            .collect();
        let chosen = MultiSelect::with_theme(&theme)
            .with_prompt("Components to bring up (space chooses)")
            .items(&items)
            .interact()
            .map_err(|error| declined(&error))?;
        answers.components = chosen
            .into_iter()
            .map(|index| known[index].name.clone())
            .collect();
    }
    Ok(answers)
}

fn hosts(theme: &ColorfulTheme) -> Result<Vec<NewHost>, HomeError> {
    let mut hosts = Vec::new();
    loop {
        let typed: String = Input::with_theme(theme)
            .with_prompt(asked(&format!(
                "Host {} as name or name=address (empty ends)",
                hosts.len() + 1
            )))
            .allow_empty(true)
            .validate_with(|typed: &String| {
                if typed.is_empty() {
                    return Ok(());
                }
                typed.parse::<NewHost>().map(|_| ())
            })
            .interact_text()
            .map_err(|error| declined(&error))?;
        match typed.parse() {
            Ok(host) => hosts.push(host),
            Err(_) => return Ok(hosts),
        }
    }
}

fn text(
    theme: &ColorfulTheme,
    prompt: &str,
    suggestion: Option<String>,
) -> Result<String, HomeError> {
    let mut input = Input::<String>::with_theme(theme).with_prompt(asked(prompt));
    input = match suggestion {
        Some(suggestion) => input.default(shown(&suggestion).into_owned()),
        None => input.allow_empty(true),
    };
    input.interact_text().map_err(|error| declined(&error))
}

fn declined(error: &dialoguer::Error) -> HomeError {
    HomeError::Usage(format!("nothing was written: {error}"))
}
