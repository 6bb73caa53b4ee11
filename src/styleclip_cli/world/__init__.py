"""World v2: a population of drawn people, with the truth about each picture.

It will replace `toyworld`; nothing in the product uses it yet. A person is drawn from a seed
(`population.persons`) in this order, so that attributes are as entangled as in photographs:

1. age, sex as it shows, and the shares of four ancestries (European, African, East Asian, South Asian);
2. skin, eyes, nose and lips from ancestry; the size of the eyes, nose, jaw, cheeks, brows, ears and wrinkles
   from age and sex; freckles from pale skin;
3. hair: length from sex; baldness from age, in men; colour and curl from ancestry, grey from age; dyed hair
   is rare; beards, moustaches and stubble in grown men;
4. what is worn: makeup, lipstick (with makeup), earrings mostly by women; glasses with age; hats; clothes;
5. expression: none or one of smiling, sad, angry, surprised; the mouth opens with it;
6. the photo: pose, light, background, which depend on nothing.

Ancestry is not an attribute: it only shows in those that follow from it. What is known about each picture:

- `attributes`: names, what hides what (`visibility`), what can be read off a picture (`shown`);
- `renderer.render`: the picture, also at other places (`grid`) and before another background (`backdrop`);
- `landmarks.landmarks`: the 68 points; FFHQ's alignment of them is the frame of the picture;
- `parsing.parse`: the part of the person at each pixel.

A picture is a continuous function of the attributes and of a texture of eight numbers, which place strands,
pores, folds and lights, for a generator's noise to learn.
"""
