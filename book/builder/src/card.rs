//! A checkpoint as a card: static HTML that says all there is without a script.
//!
//! `book/theme/checkpoint.js` adds buttons, and hides what has the class `checkpoint-seen` until
//! the prediction is made. The prompts are drawn by `checkpoint.css`, so that what is selected with
//! the mouse can be pasted into a shell.

use shared::lab::checkpoint::session::Exchange;
use shared::lab::checkpoint::{Checkpoint, Id, Kind, Namespace, Prediction, Requirement};
use shared::lab::needs;

use crate::markup::{escape, inline, list, markdown};

/// The name of its heading, for links.
pub fn anchor(id: Id) -> String {
    format!("checkpoint-{}-{}", id.part, id.number)
}

/// The card.
pub fn html(checkpoint: &Checkpoint) -> String {
    let id = checkpoint.id;
    let anchor = anchor(id);
    let asks = if checkpoint.predict.is_some() { " checkpoint-asks" } else { "" };
    let predict = checkpoint.predict.as_ref();
    [
        format!("<section class=\"checkpoint{asks}\" data-id=\"{id}\" aria-labelledby=\"{anchor}\">"),
        format!(
            "<h2 id=\"{anchor}\"><a class=\"header\" href=\"#{anchor}\">Checkpoint {id}: {}</a></h2>",
            inline(&checkpoint.title)
        ),
        facts(checkpoint),
        predict.map(|predict| prediction(id, predict)).unwrap_or_default(),
        how_to_run(checkpoint),
        session(checkpoint),
        format!("<div class=\"checkpoint-because checkpoint-seen\"><h3>Why</h3>{}{}</div>",
            predict.map(answer).unwrap_or_default(),
            markdown(&checkpoint.because)
        ),
        format!(
            "<details class=\"checkpoint-hint\"><summary>Hint: when you see something else</summary>\
             {}</details>",
            markdown(&checkpoint.hint)
        ),
        "</section>".into(),
    ]
    .concat()
}

fn facts(checkpoint: &Checkpoint) -> String {
    let needs: Vec<String> = checkpoint.needs.iter().map(in_words).collect();
    let needs = match needs.join("; ") {
        needs if needs.is_empty() => String::new(),
        needs => format!(" Needs: {needs}."),
    };
    let unit = if checkpoint.minutes == 1 { "minute" } else { "minutes" };
    format!("<p class=\"checkpoint-facts\">{} {unit}.{needs}</p>", checkpoint.minutes)
}

/// What is needed, as HTML that goes on after "needs".
pub fn in_words(requirement: &Requirement) -> String {
    match requirement {
        Requirement::AnyRoot => "root, or a user namespace".into(),
        Requirement::Program(name) => format!("the program <code>{}</code>", escape(name)),
        Requirement::Need("root") => "root".into(),
        Requirement::Need(name) => inline(needs::find(name).map_or(*name, |need| need.what)),
    }
}

fn prediction(id: Id, predict: &Prediction) -> String {
    let name = format!("predict-{}-{}", id.part, id.number);
    let choices: Vec<String> = (1..)
        .zip(&predict.choices)
        .map(|(number, choice)| {
            format!(
                "<label><input type=\"radio\" name=\"{name}\" value=\"{number}\"> \
                 <span>{}</span></label>",
                inline(choice)
            )
        })
        .collect();
    format!(
        "<div class=\"checkpoint-predict\" data-answer=\"{}\"><fieldset><legend><strong>Predict.\
         </strong> {}</legend>{}</fieldset><p class=\"checkpoint-verdict\" role=\"status\"></p></div>",
        predict.answer,
        inline(&predict.question),
        choices.concat()
    )
}

fn answer(predict: &Prediction) -> String {
    let right = predict.choices.get(predict.answer.wrapping_sub(1));
    right.map_or_else(String::new, |right| {
        format!("<p class=\"checkpoint-answer\"><strong>Answer:</strong> {}</p>", inline(right))
    })
}

fn how_to_run(checkpoint: &Checkpoint) -> String {
    let (id, binary) = (checkpoint.id, binary(checkpoint.part()));
    let mut notes = vec![format!(
        "<code>{binary} checkpoint {id}</code> runs this for you.<br>\
         <code>{binary} checkpoint shell {id}</code> opens its shell, to type it yourself."
    )];
    if !checkpoint.unshare.is_empty() {
        let own: Vec<String> = checkpoint.unshare.iter().copied().map(namespace).collect();
        notes.push(format!("That shell has {} of its own.", list(&own)));
    }
    let vars = checkpoint.vars.iter();
    let vars = vars.map(|(name, kind)| format!("<code>{name}</code> is {}", value(kind)));
    let vars: Vec<String> = vars.collect();
    if !vars.is_empty() {
        notes.push(format!("In each run, {}.", list(&vars)));
    }
    if checkpoint.session.mentions("CGROUP") {
        notes.push("<code>CGROUP</code> is the name of a cgroup that is not there yet.".into());
    }
    if checkpoint.session.mentions("LAB") {
        notes.push("<code>LAB</code> is the lab’s directory, in which you start.".into());
    }
    format!("<p class=\"checkpoint-run\">{}</p>", notes.join(" "))
}

/// The name of a part's program.
pub fn binary(part: u8) -> &'static str {
    crate::parts().into_iter().find(|known| known.number == part).map_or("", |part| part.binary)
}

fn namespace(namespace: Namespace) -> String {
    match namespace {
        Namespace::Net => "a network",
        Namespace::Uts => "a host name",
        Namespace::Ipc => "shared memory and queues",
        Namespace::Pid => "a process list",
        Namespace::Cgroup => "a view of the cgroup tree",
    }
    .into()
}

fn value(kind: &Kind) -> String {
    match kind {
        Kind::Word => "a new random word".into(),
        Kind::Number(from, to) => format!("a new random number from {from} to {to}"),
        Kind::Port => "a port on which nobody listens".into(),
        Kind::OneOf(choices) => {
            let choices: Vec<String> = choices.iter().map(|choice| escape(choice)).collect();
            format!("one of {}", choices.join(", "))
        }
    }
}

fn session(checkpoint: &Checkpoint) -> String {
    let vars: Vec<&str> = checkpoint.vars.keys().map(String::as_str).collect();
    let exchanges: Vec<String> =
        checkpoint.session.0.iter().map(|exchange| one_exchange(exchange, &vars)).collect();
    format!("<div class=\"checkpoint-session\">{}</div>", exchanges.concat())
}

fn one_exchange(exchange: &Exchange, vars: &[&str]) -> String {
    let lines = exchange.command.split('\n').map(|line| format!("<span>{}</span>", escape(line)));
    let command = lines.collect::<Vec<_>>().join("\n");
    let mut html = format!("<pre class=\"checkpoint-command\">{command}</pre>");
    let output = exchange.expected.iter().map(|line| output_line(line, vars));
    let output = output.collect::<Vec<_>>().join("\n");
    if !output.is_empty() {
        html += &format!(
            "<pre class=\"checkpoint-output checkpoint-seen\"><samp>{output}</samp></pre>"
        );
    }
    if exchange.status != 0 {
        let status = exchange.status;
        html += &format!("<p class=\"checkpoint-status checkpoint-seen\">exit status {status}</p>");
    }
    html
}

/// A line of output, with what differs from run to run marked.
fn output_line(line: &str, vars: &[&str]) -> String {
    let line = escape(line);
    if line == "..." {
        return "<i title=\"any lines, or none\">...</i>".into();
    }
    let line = line.replace("[..]", "<i title=\"any text\">[..]</i>");
    vars.iter().fold(line, |line, var| {
        line.replace(
            &format!("[{var}]"),
            &format!("<var title=\"the value of {var}\">[{var}]</var>"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(more: &str) -> Checkpoint {
        let text = format!(
            "id: 2.10\ntitle: A <b> & `c`\nminutes: 1\n{more}session: |\n  $ echo \"<$WORD>\"\n  > x\n  \
             <[WORD]> [..]\n\n  ...\n  ? 3\nhint: h\nbecause: It is *so*.\n"
        );
        Checkpoint::parse(&text).unwrap()
    }

    #[test]
    fn everything_is_said_and_escaped() {
        let html = html(&checkpoint(
            "needs: [any-root, 'program:a', netns]\nunshare: [net, uts]\nvars: {WORD: word, N: 1..3}\n\
             predict: {question: 'Is `1 < 2`?', choices: ['yes & no', b], answer: 1}\n",
        ));
        for part in [
            "id=\"checkpoint-2-10\"",
            "1 minute. Needs: root, or a user namespace; the program <code>a</code>; a network of",
            "Is <code>1 &lt; 2</code>?",
            "<input type=\"radio\" name=\"predict-2-10\" value=\"2\">",
            "<strong>Answer:</strong> yes &amp; no",
            "part2-namespaces checkpoint shell 2.10",
            "has a network and a host name of its own",
            "In each run, <code>WORD</code> is a new random word and <code>N</code> is a new random",
            "<span>echo &quot;&lt;$WORD&gt;&quot;</span>\n<span>x</span>",
            "&lt;<var title=\"the value of WORD\">[WORD]</var>&gt; <i title=\"any text\">[..]</i>",
            "exit status 3",
            "It is <em>so</em>.",
        ] {
            assert!(html.contains(part), "{part} is missing in {html}");
        }
        assert!(!html.contains("<$WORD>"));
    }

    #[test]
    fn without_a_question_nothing_is_hidden() {
        let html = html(&checkpoint(""));
        assert!(!html.contains("checkpoint-asks") && !html.contains("<fieldset"));
    }
}
