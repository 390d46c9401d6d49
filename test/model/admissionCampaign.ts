/** The campaign of admission: random commands to it and to the reference model, and what differs between them. */
import { type AdmissionCommand, admissionProgram, plainerAdmission } from "./admissionCommands.ts"
import { type AdmissionOutcomes, AdmissionSubject, newAdmissionOutcomes } from "./admissionSubject.ts"
import { Random } from "./random.ts"
import { shrink } from "./shrink.ts"

/** Short enough that a failure is shrunk at once, long enough for many runs under one configuration. */
const programLength = 200

/** So many differences are looked for and shrunk; then the campaign ends. */
const maxDifferences = 3

export interface AdmissionCampaign {
  /** How many commands were done. */
  readonly commands: number
  /** What differs, each with the few commands that are left of the sequence which shows it. Empty where nothing does. */
  readonly differences: ReadonlyArray<string>
  readonly outcomes: AdmissionOutcomes
}

/** What a sequence of commands fails with, if it does. */
export const attemptAdmission = (
  commands: ReadonlyArray<AdmissionCommand>,
  outcomes: AdmissionOutcomes = newAdmissionOutcomes()
): Error | undefined => {
  const subject = new AdmissionSubject(outcomes)
  try {
    for (const command of commands) {
      subject.execute(command)
    }
    return undefined
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

const report = (seed: number, failing: ReadonlyArray<AdmissionCommand>): string => {
  const { commands, error } = shrink(failing, attemptAdmission, plainerAdmission)
  return [
    `seed ${seed}: ${error.message}`,
    ...commands.map((command, index) => `${index + 1}. ${JSON.stringify(command)}`),
    `replay with LEASEHOLD_SEED=${seed}`
  ].join("\n")
}

/** Does at least `commandCount` random commands, the same ones for the same seed. */
export const runAdmissionCampaign = (options: {
  readonly seed: number
  readonly commandCount: number
}): AdmissionCampaign => {
  const random = new Random(options.seed)
  const outcomes = newAdmissionOutcomes()
  const differences: Array<string> = []
  let commands = 0
  while (commands < options.commandCount && differences.length < maxDifferences) {
    const program = admissionProgram(random, programLength)
    commands += program.length
    if (attemptAdmission(program, outcomes) !== undefined) {
      differences.push(report(options.seed, program))
    }
  }
  return { commands, differences, outcomes }
}
