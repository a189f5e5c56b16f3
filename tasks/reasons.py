"""Why a row of an export is kept out of the warehouse."""

from enum import StrEnum
from typing import NamedTuple


class ExportRefusedError(ValueError):
    """An export cannot be used as a whole; the message says what was found and what to do."""


class Reason(StrEnum):
    """Codes in ``rejects.reason``; ``SENTENCES`` says each in words."""

    BAD_ENCODING = "bad_encoding"
    BAD_JSON = "bad_json"
    BAD_SEASON = "bad_season"
    BAD_SUBGROUP = "bad_subgroup"
    BAD_SUBMITTED_AT = "bad_submitted_at"
    DAMAGED_ID = "damaged_id"
    DUPLICATE = "duplicate"
    EMPTY_RESPONSE_ID = "empty_response_id"
    ERASED = "erased"
    HUMAN_SCORE_CONFLICT = "human_score_conflict"
    ID_TOO_LONG = "id_too_long"
    INVALID_CHARACTER = "invalid_character"
    MISSING_ITEM = "missing_item"
    NESTED_VALUE = "nested_value"
    NO_KNOWN_SCORE = "no_known_score"
    PURPOSE_CONFLICT = "purpose_conflict"
    RESPONSE_CONFLICT = "response_conflict"
    ROW_TOO_LONG = "row_too_long"
    ROW_TOO_SHORT = "row_too_short"
    SCORE_NOT_A_NUMBER = "score_not_a_number"
    SCORE_OFF_SCALE = "score_off_scale"
    TEXT_TOO_LONG = "text_too_long"
    UNKNOWN_ITEM = "unknown_item"
    UNKNOWN_TRAIT = "unknown_trait"
    UNTERMINATED_QUOTE = "unterminated_quote"


SENTENCES: dict[Reason, str] = {
    Reason.BAD_ENCODING: "holds bytes that are not in the file's encoding: export it as UTF-8",
    Reason.BAD_JSON: "is not one JSON object on a line of its own",
    Reason.BAD_SEASON: "names no season, or one too long for a folder name: mend it, "
    "or give --season for rows that name none",
    Reason.BAD_SUBGROUP: "names a subgroup in more than 100 characters, or with a control "
    "character: mend it, or leave it empty",
    Reason.BAD_SUBMITTED_AT: "has a submission time in no known form, or an impossible one: "
    "write it as 2026-03-12T14:05:00Z, or name its form in a mapping file (submitted_at_format)",
    Reason.DAMAGED_ID: "has an identifier like 1.23E+11, which a spreadsheet has rounded: "
    "export it again with identifiers as text",
    Reason.DUPLICATE: "repeats a response that is already here, with no new human score",
    Reason.EMPTY_RESPONSE_ID: "has no response id",
    Reason.ERASED: "belongs to a student who was erased: take the row out where it comes from, and "
    "erase the student again so that this file goes, too",
    Reason.HUMAN_SCORE_CONFLICT: "has another human score than was recorded before for the same "
    "response, trait and rater; the first one stays",
    Reason.ID_TOO_LONG: "has an identifier, trait or season of over 200 characters, perhaps a "
    "text in its place: see that the columns are read as what they are",
    Reason.INVALID_CHARACTER: "holds a control character that no text should have",
    Reason.MISSING_ITEM: "has no item id",
    Reason.NESTED_VALUE: "has a list or an object where one value belongs",
    Reason.NO_KNOWN_SCORE: "is a validity response without its known score, which belongs where "
    "the first rater's stands",
    Reason.PURPOSE_CONFLICT: "has the id of a response that is here already, one as a validity "
    "response and one not: give validity responses ids of their own",
    Reason.RESPONSE_CONFLICT: "has the id of an earlier response, but another text or item: "
    "ids must be unique over all seasons",
    Reason.ROW_TOO_LONG: "has more cells than the header, or is a line far too long: "
    "put cells that hold the delimiter in quotes",
    Reason.ROW_TOO_SHORT: "has fewer cells than the header",
    Reason.SCORE_NOT_A_NUMBER: "has a human score that is not a number",
    Reason.SCORE_OFF_SCALE: "has a human score off the item's scale, or not a whole or half point",
    Reason.TEXT_TOO_LONG: "has a text over the length limit (setting max_characters)",
    Reason.UNKNOWN_ITEM: "belongs to an item that is not in the bank: add it with "
    "`gradeline items add`, then ingest a file with these rows",
    Reason.UNKNOWN_TRAIT: "has a trait that the item does not have, or none where it has several",
    Reason.UNTERMINATED_QUOTE: "opens a quotation mark that is not closed properly; "
    "reading went on at the next line",
}


class Fault(NamedTuple):
    """What is wrong with one row; ``found`` never quotes text or a student id.

    The ids are those of a row that was whole enough to have them.
    """

    reason: Reason
    found: str = ""
    response_id: str | None = None
    item_id: str | None = None
