//! The command line as its users have it: a process of its own, asked for JSON, judged by its exit code.

use std::path::PathBuf;

use switcher_config::wire::Receipt;
use tokio::process::Command;

use super::child;
use super::trouble::Trouble;

/// The product's command line, pointed at one proxy.
#[derive(Debug, Clone)]
pub struct Product {
    /// The program.
    pub switcher: PathBuf,
    /// The admin socket it is pointed at.
    pub socket: PathBuf,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub result: String,
    /// Standard error.
    pub said: String,
}

impl Product {
    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn ask(&self, args: &[&str]) -> Result<Answer, Trouble> {
        let mut command = Command::new(&self.switcher);
        command.args(args).arg("--admin").arg(&self.socket).args(["--json", "--progress", "quiet"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let output = child::spawn(command)?.wait_with_output().await;
        let output = output.map_err(Trouble::system(format!("run `switcher {}`", args.join(" "))))?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            result: String::from_utf8_lossy(&output.stdout).into_owned(),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Runs a command that must succeed.
    ///
    /// # Errors
    /// When it cannot be run or does not succeed.
    pub async fn insist(&self, args: &[&str]) -> Result<String, Trouble> {
        let answer = self.ask(args).await?;
        match answer.code {
            0 => Ok(answer.result),
            code => Err(Trouble::Command { command: args.join(" "), code, said: answer.said }),
        }
    }

    /// Runs a command that must succeed with a receipt.
    ///
    /// # Errors
    /// When it cannot be run, does not succeed, or answers something else.
    pub async fn receipt(&self, args: &[&str]) -> Result<Receipt, Trouble> {
        let result = self.insist(args).await?;
        serde_json::from_str(&result).map_err(|error| Trouble::Command {
            command: args.join(" "),
            code: 0,
            said: format!("no receipt, {error}: {result}"),
        })
    }
}
