use super::*;

/// The sentences of a text; checks on the way what holds for every text.
fn sentences(text: &str) -> Vec<&str> {
    let lists = sentence_ends(&[Some(text)], &Stop::new()).unwrap();
    let mut start = 0;
    let parts = lists.values.iter().map(|&end| {
        let end = end as usize;
        assert!(end > start, "ends increase");
        let part = &text[start..end];
        start = end;
        part
    });
    let parts: Vec<&str> = parts.collect();
    assert_eq!(parts.concat(), text);
    parts
}

/// `|` marks the wanted ends in a text that has no `|` of its own.
fn check(marked: &str) {
    let wanted: Vec<&str> = marked.split('|').collect();
    assert_eq!(sentences(&wanted.concat()), wanted);
}

#[test]
fn stops_end_sentences_and_white_space_belongs_to_them() {
    check("One. |Two!  |Three? |Four.");
    check("Really?! |Yes...  |Then we go");
    check("  Leading space joins. |The first. ");
    check("No stop at all");
}

#[test]
fn empty_and_blank_texts() {
    assert_eq!(sentences(""), Vec::<&str>::new());
    check(" \n\t ");
    check("...");
}

#[test]
fn newlines_end_sentences() {
    check("First line\n|second line\n\n|third\r\n|fourth");
    check("# Heading\n|- an item\n  |- another\n|text");
    check("x = 3\n|y = 4\n|so z = 7");
}

#[test]
fn numbers_versions_and_addresses_stay_whole() {
    check("Pi is 3.14 and e is 2.72. |Use v1.2.3 of file.txt from https://a.b/c.html?d=e. |Done.");
    check("Call math.sqrt(2.0) now. |Then stop.");
    check("The answer is 5. |So it ends.");
}

#[test]
fn abbreviations_stay_whole() {
    check("Take primes, e.g. 2 or i.e. The even one. |Next.");
    check("Dr. Smith and Mrs. Jones met Prof. Lee. |They spoke.");
    check("See Fig. 3 and Eq. (4), no. 7. |The fig. |Answer: No. |Then yes.");
    check("Apples, pears, etc. are fruit, etc. |They grow.");
    check("It is 5 p.m. in the U.S. now. |In the U.S. |They sleep.");
}

#[test]
fn initials_stay_whole_between_names_and_single_letters_end_elsewhere() {
    check("John F. Kennedy met J. K. Rowling. |Fine.");
    check("The answer is B. |Because of angle C. |We see it.");
}

#[test]
fn ellipses_end_only_where_a_sentence_begins() {
    check("Wait... |Let me think… |So be it ... and on.");
    check("Add 1, 2, ... , 10 to get 55. |Done.");
}

#[test]
fn factorials_go_on() {
    check("There are 5! = 120 ways and n! in all, (n - 1)! here. |Great! |great.");
    check("So the count is 5! |Then divide.");
}

#[test]
fn list_numbers_belong_to_their_item() {
    check("1. First\n|2. Second. |More.\n|**3.** Third\n|a. letter\n  |iv. roman");
}

#[test]
fn closing_marks_stay_and_quotations_go_on() {
    check("He said \"Stop!\" and left. |\"Go.\" |(Fine.) |**Bold.** |Then ‘so.’ |End");
    check("It works (see above.) and holds. |Yes");
}

#[test]
fn chinese_and_japanese_stops_need_no_space() {
    check("他说。|你好！|真的吗？！|是；|不是");
    check("「はい。」|次の文。 |終わり");
    check("他说：“好。”|然后走了。|\"新\"句。");
    check("值是3.5。|So x is 2.5。|Done");
}

#[test]
fn formulas_stay_whole() {
    check("We have $a. B$ and \\(c. D\\) here. |Then $$x. Y\n= 2. Z$$ ends. |So.");
    check("Now\n|\\[ x = 1. \\\\\n y = 2. \\]\n|hence.");
    check("Code like `a. B` stays. |Next.");
    check("It costs $5. |He pays $6. |She has US$7. |Done.");
    check("An escaped \\$5. |Then \\$6. |End");
}

#[test]
fn unclosed_formulas_swallow_nothing() {
    check("Open $x and. |More text. |End");
    check("Open \\( here. |More\n|next \\) line.");
    check("Open \\[ here. |More. |End");
    check("Open $$ here.\n\n|More $$ text. |End");
    check("Open `x and. |More");
    let long = format!("Open $$ {}. |More $$ text.", "x".repeat(5000));
    check(&long);
}

#[test]
fn a_fenced_block_is_one_sentence() {
    check("Look:\n|```python\na = 1. \n\nB. C\n```\n\n|After. |End");
    check("~~~\n``` A. B\n~~~\n|x");
    check("````\n```\nA. B\n```\n````\n|One. |Y");
    check("```\nwhole text\n```");
    // Unclosed, or inline: ordinary lines.
    check("```python\n|a = 1\n|One. |C");
    check("```x``` is code. |Yes");
}

#[test]
fn think_tags_are_no_sentences_of_their_own() {
    check("<think>\nFirst. |Last.\n</think>\n\n|Answer. |End");
    check("<think>\n\n</think>\n\n|Answer");
    check("Done.</think>|Answer");
    check("Intro |<think> In. |Out. </think> |Answer");
}

#[test]
fn marks_without_a_word_join_their_neighbours() {
    check("One.\n\n|---\n\nTwo. |• Three");
    check("The end.\n---");
    check("Wait . |. . So");
}

#[test]
fn many_openings_cost_one_pass() {
    let started = std::time::Instant::now();
    for opening in [
        "$$ ", "$x ", "\\( ", "\\[ ", "` ", "```\n", "~~~~\n", "<think>", "</think>", ". ", "。'", "\n ",
        "A. ",
    ] {
        let text = opening.repeat(400_000 / opening.len());
        assert!(
            sentence_ends(&[Some(&text)], &Stop::new()).unwrap().values.last() == Some(&(text.len() as u32))
        );
    }
    // Quadratic time would be hours.
    assert!(started.elapsed().as_secs() < 30);
}

#[test]
fn null_gives_null() {
    let lists = sentence_ends(&[Some("A."), None, Some("")], &Stop::new()).unwrap();
    assert_eq!(lists.rows(), vec![Some(&[2][..]), None, Some(&[][..])]);
}
