//! Whether this is CI, where nothing can be accepted: evidence changes when a person says so.

use super::Stop;

/// The variables by which CI systems make themselves known.
pub const VARIABLES: [&str; 26] = [
    "CI",
    "CONTINUOUS_INTEGRATION",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "TF_BUILD",
    "JENKINS_URL",
    "HUDSON_URL",
    "TEAMCITY_VERSION",
    "CODEBUILD_BUILD_ID",
    "CODEBUILD_BUILD_ARN",
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
    "GO_PIPELINE_NAME",
    "TASKCLUSTER_ROOT_URL",
    "HARNESS_BUILD_ID",
    "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI",
];

/// The values that say no, in any case.
const NO: [&str; 5] = ["", "0", "false", "no", "off"];

/// The first variable that says so, whatever the case of its name; `None` outside of CI.
fn variable() -> Option<&'static str> {
    let says_so = |value: &std::ffi::OsStr| {
        let value = value.to_string_lossy();
        !NO.iter().any(|no| value.trim().eq_ignore_ascii_case(no))
    };
    let set: Vec<String> = std::env::vars_os()
        .filter(|(_, value)| says_so(value))
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    VARIABLES.into_iter().find(|name| set.iter().any(|set| set.eq_ignore_ascii_case(name)))
}

/// Whether this is CI.
pub fn in_ci() -> bool {
    variable().is_some()
}

/// Where a command can be given that CI refuses; to stand before it.
pub fn elsewhere() -> &'static str {
    if in_ci() { "on your machine " } else { "" }
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
