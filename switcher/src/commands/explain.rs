//! `switcher explain [CODE]`.

use serde_json::{Value, json};

use super::Outcome;
use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::layout::{Page, Tone};

/// Explains one code, or lists them all.
pub(super) fn run(ctx: &Context, code: Option<&str>) -> Outcome {
    let Some(text) = code else {
        let all: Vec<Value> = Code::ALL.iter().map(|code| entry(*code)).collect();
        let page = list().render(ctx.console.width, ctx.console.colour);
        return ctx.console.result(&page, &json!({ "codes": all })).map(drop);
    };
    let Some(code) = Code::find(text) else {
        let nearest = Code::nearest(text);
        return Err(Failure::new(
            Code::UnknownCode,
            format!("there is no error code \"{text}\"; did you mean {nearest}?"),
            Live::Unchanged,
            format!("switcher explain {nearest}"),
        ));
    };
    let exit = code.exit();
    let mut page = Page::default();
    page.line("", Tone::Plain, 0).words(&format!("{code}: {}", code.title()), Tone::Strong);
    page.gap();
    page.line("", Tone::Plain, 0).words(code.explanation(), Tone::Plain);
    page.gap();
    page.line("", Tone::Plain, 0)
        .words(&format!("Exit code {}: {}.", exit as u8, exit.meaning()), Tone::Faint);
    // Prose is easier to read when its lines are not too long.
    let width = ctx.console.width.min(100);
    ctx.console.result(&page.render(width, ctx.console.colour), &entry(code)).map(drop)
}

fn entry(code: Code) -> Value {
    let explanation = code.explanation().split_whitespace().collect::<Vec<_>>().join(" ");
    json!({ "code": code, "exit": code.exit() as u8, "title": code.title(), "explanation": explanation })
}

fn list() -> Page {
    let mut page = Page::default();
    page.line("CODE              EXIT", Tone::Faint, 24).words("MEANING", Tone::Faint);
    for code in Code::ALL {
        page.line(&format!("{code:<17} {:>4}", code.exit() as u8), Tone::Strong, 24)
            .words(code.title(), Tone::Plain);
    }
    page
}
