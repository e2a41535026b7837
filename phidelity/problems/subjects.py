"""What the requests of `instruction.py` are about: everyday subjects with short true sentences, without commas.

The last three are held out for the test.
"""

SUBJECTS: dict[str, tuple[str, ...]] = {
    "bread": (
        "Bread is made from flour and water.", "Yeast makes the dough rise.", "The oven must be hot.",
        "Fresh bread smells good.", "Many people eat bread in the morning.", "Old bread becomes hard.",
        "Bakers start their work at night.",
    ),
    "rain": (
        "Rain falls from clouds.", "It fills rivers and lakes.", "Plants need rain to grow.",
        "A roof keeps the rain out.", "After rain the air is clean.", "Heavy rain can flood a street.",
        "Some deserts see no rain for years.",
    ),
    "cats": (
        "Cats sleep for many hours a day.", "They hunt mice and birds.", "A cat cleans its own fur.",
        "Cats see well in the dark.", "Young cats are called kittens.", "A happy cat purrs.",
        "Cats can climb trees with ease.",
    ),
    "bicycles": (
        "A bicycle has two wheels.", "The rider turns the pedals.", "A chain drives the back wheel.",
        "Good brakes are important.", "A bicycle needs no fuel.", "Many children learn to ride early.",
        "Lights help at night.",
    ),
    "the moon": (
        "The moon moves around the earth.", "It shines with the light of the sun.", "There is no air on the moon.",
        "One round takes about a month.", "People first stood there in 1969.", "The moon pulls at the sea.",
        "Its surface is full of craters.",
    ),
    "libraries": (
        "A library lends books to readers.", "Most libraries are quiet places.", "The books stand in a fixed order.",
        "Children find picture books there.", "Borrowed books must be returned.", "Some libraries are very old.",
        "A librarian helps people to find a book.",
    ),
    "trees": (
        "A tree has roots and a trunk and leaves.", "The roots take water from the ground.", "Leaves need light.",
        "Some trees live for a thousand years.", "Birds build nests in trees.", "Wood comes from trees.",
        "In autumn many trees lose their leaves.",
    ),
    "tea": (
        "Tea is made from leaves and hot water.", "It came from China to Europe.", "Some people add milk.",
        "Green tea and black tea come from one plant.", "Tea can be drunk hot or cold.", "Strong tea keeps one awake.",
        "A pot of tea is enough for friends.",
    ),
    "bees": (
        "Bees live together in a hive.", "They make honey from nectar.", "A hive has one queen.",
        "Bees help flowers to make seeds.", "A bee can sting.", "In winter bees stay inside.",
        "They tell each other where food is by dancing.",
    ),
    "snow": (
        "Snow is frozen water.", "It falls when the air is cold.", "Children build figures from snow.",
        "Snow makes a street slippery.", "Every flake has six arms.", "In spring the snow melts.",
        "Fresh snow makes the world quiet.",
    ),
    "boats": (
        "A boat floats on water.", "Some boats have sails.", "Others are driven by a motor.",
        "A boat needs a rudder to steer.", "Fishermen go out early in their boats.", "Every boat has a name.",
        "In a storm small boats stay in the harbour.",
    ),
    "music": (
        "Music is made of sounds and silence.", "A song has words and a melody.", "A drum keeps the time.",
        "Many people sing together in a choir.", "Music can make us glad or sad.", "A piano has black and white keys.",
        "One needs practice to play well.",
    ),
    "gardens": (
        "A garden needs water and care.", "Weeds grow faster than flowers.", "In spring one sows seeds.",
        "Worms are good for the soil.", "A fence keeps deer out.", "Ripe fruit tastes best from one's own garden.",
        "A garden rests in winter.",
    ),
    "clocks": (
        "A clock shows the time.", "Most clocks have two hands.", "The short hand shows the hours.",
        "Old clocks must be wound.", "A sundial works without a motor.", "Church clocks can be heard from far away.",
        "A good clock loses no minute in a month.",
    ),
    "bridges": (
        "A bridge crosses a river or a road.", "Stone bridges can last for centuries.", "Some bridges hang on cables.",
        "Engineers test how much weight a bridge bears.", "Ships pass below high bridges.", "A drawbridge can open.",
        "Rust is the enemy of iron bridges.",
    ),
}  # fmt: skip
