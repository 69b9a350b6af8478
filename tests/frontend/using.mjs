export async function used() {}
