//! Whether this is CI, where nothing can be accepted: evidence changes when a person says so.

use super::Stop;

/// The variables by which CI systems make themselves known.
pub const VARIABLES: [&str; 20] = [
    "CI",
    "CONTINUOUS_INTEGRATION",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "TF_BUILD",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "CODEBUILD_BUILD_ID",
    "BUILDKITE",
    "CIRCLECI",
    "CIRRUS_CI",
    "TRAVIS",
    "DRONE",
    "WOODPECKER",
    "APPVEYOR",
    "SEMAPHORE",
    "BITBUCKET_BUILD_NUMBER",
    "bamboo_buildKey",
    "BUILDER_OUTPUT",
    "PROW_JOB_ID",
];

/// The values that say no, in any case.
const NO: [&str; 5] = ["", "0", "false", "no", "off"];

/// The first variable that says so; `None` outside of CI.
fn variable() -> Option<&'static str> {
    VARIABLES.into_iter().find(|name| {
        let Some(value) = std::env::var_os(name) else { return false };
        let value = value.to_string_lossy();
        !NO.iter().any(|no| value.trim().eq_ignore_ascii_case(no))
    })
}

/// Whether this is CI.
pub fn in_ci() -> bool {
    variable().is_some()
}

/// Refuses in CI what is for a person to do.
pub fn refuse_in_ci(what: &str) -> Result<(), Stop> {
    match variable() {
        None => Ok(()),
        Some(name) => Err(Stop::usage(format!(
            "{what} in CI ({name} is set); repeat the command on your machine and commit the result"
        ))),
    }
}
