"""What is written, as a careful nurse reads it aloud: numbers, units, times and signs in words.

An engine for speech reads words. Of "2.5 mg/5 mL BID" it makes something of its own, and nobody
who only hears a dose can check it. So everything that is no word becomes one here, and what can
be heard in two ways is said in the way that can't: two numbers side by side never become one.

The text is read once from left to right. At each digit, Latin word and sign the rules for it are
tried in order, and the first that fits says what is spoken; all other text is passed on as it is.
No rule looks further than a few characters around its place, so that the time is linear.

Letters that are spelled come out as single capitals with spaces ("C T", "I C U"). In an English
text a single capital "A" inside a sentence is always such a letter, never the article.

Where to look:

- `reading`: the way through a text, and the order in which the rules are tried.
- `reader`: the state of a reading; how what is said is joined to what was said before.
- `rule`: what a rule is. `patterns`: the pieces that patterns of several rooms are made of.
- The rules, each beside its pattern: `numbers`, `slashes` (fractions, scores, blood pressures),
  `quantities` (doses and units), `prescriptions`, `dates_and_times`, `identifiers` (telephone
  numbers, rooms, addresses), `words` (Latin words and names with digits) and `signs`.
- Not here: the words of a number (`speech.number_words`) and the table of units and
  abbreviations (`speech.spoken_table`).
"""

from medbot_llm.speech.spoken_form.reading import spoken_form

__all__ = ["spoken_form"]
