"""``molsub completion``: what a shell needs to complete commands, options and their choices with the tab key."""

from __future__ import annotations

import argparse

from MolSubCore.cli.parts import Commands, Parser, add_command, all_commands

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
# Tab completion of molsub for {shell}. {install}
{zsh}_molsub() {{
  local word path="" glued="" words="" current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" n
  for (( n = 1; n < COMP_CWORD; n++ )); do
    word="${{path:+$path }}${{COMP_WORDS[n]}}"
    case "$word" in
      {paths}) path="$word" ;;
    esac
  done
  COMPREPLY=()
  # --option=value: bash parts it at the sign, zsh does not.
  case "$current" in
    =) previous="$previous"; current="" ;;
    --*=*) previous="${{current%%=*}}"; current="${{current#*=}}"; glued="$previous=" ;;
    *) [ "$previous" = "=" ] && previous="${{COMP_WORDS[COMP_CWORD-2]}}" ;;
  esac
  case "$path:$previous" in
{values}
  esac
  if [ -z "$words" ]; then
    case "$path" in
{words}
    esac
    # Only what begins with a dash is an option; a command of commands takes its commands.
    case "$current:$words" in
      -*:*) ;;
      *:-*) return ;;
    esac
  fi
  [ "$words" = "FILE" ] && return
  COMPREPLY=( $(compgen -P "$glued" -W "$words" -- "$current") )
}}
complete -o default -o bashdefault -F _molsub molsub
"""

_INSTALL = {
    "bash": "Put it into ~/.local/share/bash-completion/completions/molsub",
    "zsh": 'Add to ~/.zshrc: eval "$(molsub completion zsh)"',
    "fish": "Put it into ~/.config/fish/completions/molsub.fish",
}


def add_completion(commands: Commands, whole: Parser) -> None:
    """``molsub completion``, for the command line `whole`."""
    text = "print a script that lets a shell complete molsub's commands and options (tab key)"
    examples = ("completion bash > ~/.local/share/bash-completion/completions/molsub",)
    parser = add_command(commands, "completion", tell, text, examples=examples)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")
    parser.set_defaults(whole=whole)


def tell(options: argparse.Namespace) -> int:
    """``molsub completion SHELL``: write the script to the standard output."""
    print(script(options.shell, options.whole), end="")
    return 0


def script(shell: str, whole: Parser) -> str:
    """The script of a shell, made of the command line as it is.

    Parameters
    ----------
    shell : {'bash', 'zsh', 'fish'}
    whole : Parser
        The command line.
    """
    commands = dict(all_commands(whole))
    return _fish(commands) if shell == "fish" else _bash(commands, shell)


def _bash(commands: dict[str, Parser], shell: str) -> str:
    values, words = [], []
    for name, parser in commands.items():
        own = [*parser.commands(), *parser.options()]
        words.append(f'      "{name}") words="{" ".join(own)}" ;;')
        for option, action in parser.options().items():
            if action.nargs != 0:
                choices = " ".join(map(str, action.choices)) if action.choices else "FILE"
                values.append(f'    "{name}:{option}") words="{choices}" ;;')
        for action in parser._get_positional_actions():
            if action.choices and not isinstance(action, argparse._SubParsersAction):
                values.append(f'    "{name}:{name.split()[-1]}") words="{" ".join(map(str, action.choices))}" ;;')
    return _BASH.format(
        shell=shell,
        install=_INSTALL[shell],
        zsh="autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "",
        paths="|".join(f'"{name}"' for name in commands if name),
        values="\n".join(values),
        words="\n".join(words),
    )


def _fish(commands: dict[str, Parser]) -> str:
    lines = [f"# Tab completion of molsub for fish. {_INSTALL['fish']}"]
    for name, parser in commands.items():
        seen = [f"__fish_seen_subcommand_from {word}" for word in name.split()]
        inner = parser.commands()
        for word in inner:
            unseen = f"not __fish_seen_subcommand_from {' '.join(inner)}"
            when = "; and ".join([*seen, unseen])
            lines.append(f"complete -c molsub -f -n '{when}' -a {word} -d {_quoted(inner[word].description or '')}")
        for option, action in parser.options().items():
            when = "; and ".join(seen) or "true"
            line = f"complete -c molsub -n '{when}' -l {option[2:]} -d {_quoted(action.help or '')}"
            if action.choices:
                line += f" -x -a '{' '.join(map(str, action.choices))}'"
            elif action.nargs != 0:
                line += " -r"
            lines.append(line)
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"
