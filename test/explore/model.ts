/** The reference model of admission, as far as the explorer asks it: random commands to it and to the core beside it. */
import { runAdmissionCampaign } from "../model/admissionCampaign.ts"

const seed = 7
const commandCount = 200_000

/** How many commands were given, and how many of them came to something else. */
export const modelCampaign = (): { readonly commands: number; readonly differences: number } => {
  const { commands, differences } = runAdmissionCampaign({ seed, commandCount })
  return { commands, differences: differences.length }
}
