//! What labels and plans may be.

use std::collections::BTreeMap;

use crate::error::{Code, Error, Result, shown};
use crate::limits::{TENANT_LABEL_NAME_SIZE_BYTES_MAX, TENANT_LABEL_VALUE_SIZE_BYTES_MAX, TENANT_LABELS_MAX};
use crate::names::check_name;

/// Fails for labels that cannot be a tenant's.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > TENANT_LABELS_MAX {
        return refused(format!("it would have {} labels, the limit is {TENANT_LABELS_MAX}", labels.len()));
    }
    for (name, value) in labels {
        if name.len() > TENANT_LABEL_NAME_SIZE_BYTES_MAX {
            let most = TENANT_LABEL_NAME_SIZE_BYTES_MAX;
            return refused(format!(
                "the label {} has a name of {} bytes, the limit is {most}",
                shown(name),
                name.len()
            ));
        }
        check_name("label", name).or_else(|error| refused(error.detail().to_owned()))?;
        if name.contains('=') {
            return refused(format!("the name of the label {} holds \"=\"", shown(name)));
        }
        if value.len() > TENANT_LABEL_VALUE_SIZE_BYTES_MAX {
            let most = TENANT_LABEL_VALUE_SIZE_BYTES_MAX;
            return refused(format!(
                "the label {} has a value of {} bytes, the limit is {most}",
                shown(name),
                value.len()
            ));
        }
        if value.chars().any(char::is_control) {
            return refused(format!("the value of the label {} holds a control character", shown(name)));
        }
    }
    Ok(())
}

/// Fails for a plan that cannot be one.
pub(super) fn check_plan(plan: Option<&str>) -> Result<()> {
    match plan {
        Some(plan) => check_name("plan", plan).or_else(|error| refused(error.detail().to_owned())),
        None => Ok(()),
    }
}

fn refused(detail: String) -> Result<()> {
    Err(Error::new(Code::TenantLabelInvalid, detail))
}
