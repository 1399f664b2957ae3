/** Docs of what other files may call: an error that it makes is told, since no type tells it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

type Documented = ts.FunctionDeclaration | ts.MethodDeclaration;

const isExported = (node: ts.Declaration) => ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Export;
const isHidden = (node: ts.Declaration) =>
  ts.getCombinedModifierFlags(node) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected);

/** Exported functions, and what exported classes let others call. */
function* callable(file: ts.SourceFile): Iterable<Documented> {
  for (const node of file.statements) {
    if (ts.isFunctionDeclaration(node) && isExported(node)) yield node;
    if (ts.isClassDeclaration(node) && isExported(node)) {
      for (const member of node.members) if (ts.isMethodDeclaration(member) && !isHidden(member)) yield member;
    }
  }
}

/** Whether the code makes an error of ours and throws it. */
function throws(node: ts.Node): boolean {
  if (ts.isThrowStatement(node) && ts.isNewExpression(node.expression)) return true;
  return ts.forEachChild(node, (child) => throws(child) || undefined) ?? false;
}

it('documents every error that a function or method throws', () => {
  const folder = fileURLToPath(new URL('../../src', import.meta.url));
  const silent: string[] = [];
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue;
    const text = readFileSync(join(folder, name), 'utf8');
    const file = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
    for (const node of callable(file)) {
      const docs = ts.getJSDocCommentsAndTags(node).map((doc) => doc.getText());
      if (docs.length && throws(node.body ?? node) && !docs.join().includes('@throws')) {
        silent.push(`${name}: ${node.name!.getText()}`);
      }
    }
  }
  expect(silent).toEqual([]);
});
