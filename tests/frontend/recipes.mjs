// What notes of several workflows say of recipes.
export const RECIPES = `*Apply References > recipe* is \`auto\` for the demo model, whose file says its recipe. Where a file does
not: \`saber\`, \`videomaker\`, \`videomaker_shared\` or \`videomaker_no_text\` for weights trained with this pack, and for
public ones \`phantom\`, \`skyreels_v3\`, \`refalign\`, \`kaleido\`, \`concat_id\`, \`bernini\`, \`vace\` or \`stand_in\`.`;
