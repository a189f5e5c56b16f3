"""The words that benchmark texts are made of, written for this project; no response is among them.

Every sentence is put together from these at random, so it has the shape of an answer and no
meaning. Rare and misspelt words are in so that some words take several tokens, as in real answers.
"""


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(";"))


OPENERS = _listed(
    "I think;because;so;then;when;if;my idea is that;it shows that;you can see;in the end;"
    "first;after that;also;but;maybe;we know"
)

DETERMINERS = _listed("the;a;this;that;every;one;another;its;our;some")

ADJECTIVES = _listed(
    "heavy;light;warm;cold;closed;open;long;short;bright;dark;wet;dry;smooth;rough;green;"
    "metal;plastic;empty;full;strong;weak;slow;fast;extra;diffrent;transparent;insulating;"
    "underground"
)

NOUNS = _listed(
    "wire;bulb;battery;switch;current;water;ice;steam;air;plant;leaf;root;seed;soil;sun;moon;"
    "planet;shadow;stone;sand;river;boat;ball;ramp;magnet;spring;scale;glass;sugar;salt;"
    "rabbit;fox;fish;insect;bird;feather;cell;heart;lung;bone;muscle;table;graph;experiment;"
    "thermometer;evaporation;photosinthesis;temperture;friction;energy;gravity;sound;wave;"
    "mirror"
)

VERBS = _listed(
    "moves;stays;sinks;floats;grows;melts;freezes;boils;breaks;turns;pushes;pulls;needs;"
    "makes;takes;gives;loses;gains;carries;stops;starts;changes;reaches;touches;heats;cools;"
    "lights;eats;hides;falls;rises;condenses;vibrates;absorbs;refracts"
)

ENDINGS = _listed(
    "more than before;less than before;all the time;at night;in the morning;for two days;"
    "on the left side;on both sides;3 times;in 10 minutes;at 20 degrees;very slowly;again;"
    "together;without it;and nothing else;i gess;as the table says"
)
