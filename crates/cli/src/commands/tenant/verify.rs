//! `tenantry tenant verify`.

use serde_json::{Value as Json, json};
use tenantry::Database;
use tenantry::jobs::{Job, JobState, Verify};

use super::jobs;
use crate::output::{Exit, Outcome, Printer, count, visible};

pub(super) async fn verify(database: &Database, name: &str, background: bool, printer: Printer) -> Outcome {
    let tenant = database.tenant(name).await?;
    let id = database.create_job(&Verify, Some(&tenant), &json!({})).await?;
    if background {
        return jobs::in_background(database, id, printer).await;
    }
    let job = jobs::work_on(database, id, printer).await?;
    printer.document(&jobs::document(&job), || summary(&job))?;
    let is_sound = job.result.as_ref().is_some_and(|result| result["sound"] == json!(true));
    Ok(match (job.state, is_sound) {
        (JobState::Done, true) => Exit::Done,
        (JobState::Done, false) => Exit::Failed,
        _ => Exit::PartlyDone,
    })
}

fn summary(job: &Job) -> String {
    let result = job.result.clone().unwrap_or_default();
    let number = |name: &str| count(result[name].as_u64().unwrap_or(0));
    let mut lines = vec![format!(
        "{} keys, {} records, {} entries of the change log",
        number("keys"),
        number("records"),
        number("log_entries")
    )];
    match result["sound"] == json!(true) {
        true => lines.push("sound".to_owned()),
        false => {
            let none = Vec::new();
            let faults = result["faults"].as_array().unwrap_or(&none);
            let of_indexes = result["indexes"]["faults"].as_array().unwrap_or(&none);
            let line = |fault: &Json| visible(&format!("{}: {}", text(&fault["key"]), text(&fault["fault"])));
            lines.extend(faults.iter().map(line));
            let line = |fault: &Json| {
                visible(&format!(
                    "{}: {} {}",
                    text(&fault["index"]),
                    text(&fault["fault"]),
                    text(&fault["key"])
                ))
            };
            lines.extend(of_indexes.iter().map(line));
            lines.push(format!("not sound: {} faults of keys; of indexes see above", number("faults_total")));
        }
    }
    lines.join("\n")
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}
