// What notes of several workflows say of recipes.
export const RECIPES = `*Apply References > recipe* is \`auto\` for the demo model; \`saber\`, \`phantom\`, \`bernini\`,
\`videomaker\`, \`videomaker_shared\` or \`videomaker_no_text\` where the file does not say.`;
